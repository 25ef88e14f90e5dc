// A hub of the kind that many Go services grow: gorilla/websocket, a map of users under an RWMutex, a
// channel of 256 messages and two goroutines per client, JSON parsed and made for every message. With
// -redis every event goes through PUBLISH and comes back through one subscription, so that several such
// processes could share the users. It speaks as much of Skein's relay dialect as the load client does.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/gorilla/websocket"
)

const (
	sendQueueMessages = 256
	writeTimeout      = 10 * time.Second
	pongTimeout       = 60 * time.Second
	pingInterval      = 25 * time.Second
	messageBytesMax   = 65536
	channel           = "websocket:broadcast"
)

type envelope struct {
	Type         string                 `json:"type"`
	TargetUserID string                 `json:"targetUserId,omitempty"`
	Data         map[string]interface{} `json:"data"`
	Timestamp    string                 `json:"timestamp,omitempty"`
}

type client struct {
	user string
	conn *websocket.Conn
	send chan []byte
	once sync.Once
}

func (c *client) close() { c.once.Do(func() { c.conn.Close() }) }

// A client that does not read is let go: its queue is the bound.
func (c *client) queue(message []byte) {
	select {
	case c.send <- message:
	default:
		c.close()
	}
}

type hub struct {
	mutex  sync.RWMutex
	users  map[string]map[*client]bool
	secret []byte
	redis  *redis.Pool
}

func (h *hub) add(c *client) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.users[c.user] == nil {
		h.users[c.user] = make(map[*client]bool)
	}
	h.users[c.user][c] = true
}

func (h *hub) remove(c *client) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	delete(h.users[c.user], c)
	if len(h.users[c.user]) == 0 {
		delete(h.users, c.user)
	}
}

// deliver sends to the target's devices on this process, or to everyone.
func (h *hub) deliver(event envelope) {
	target := event.TargetUserID
	event.TargetUserID = ""
	message, err := json.Marshal(event)
	if err != nil {
		return
	}
	h.mutex.RLock()
	defer h.mutex.RUnlock()
	if target != "" {
		for c := range h.users[target] {
			c.queue(message)
		}
		return
	}
	for _, clients := range h.users {
		for c := range clients {
			c.queue(message)
		}
	}
}

func (h *hub) publish(event envelope) {
	if h.redis == nil {
		h.deliver(event)
		return
	}
	message, err := json.Marshal(event)
	if err != nil {
		return
	}
	conn := h.redis.Get()
	defer conn.Close()
	if _, err := conn.Do("PUBLISH", channel, message); err != nil {
		log.Println("publish:", err)
	}
}

func (h *hub) subscribe() {
	conn := redis.PubSubConn{Conn: h.redis.Get()}
	if err := conn.Subscribe(channel); err != nil {
		log.Fatal(err)
	}
	for {
		switch message := conn.Receive().(type) {
		case redis.Message:
			var event envelope
			if json.Unmarshal(message.Data, &event) == nil {
				h.deliver(event)
			}
		case error:
			log.Fatal(message)
		}
	}
}

func (h *hub) route(c *client, message []byte) {
	var event envelope
	if json.Unmarshal(message, &event) != nil {
		return
	}
	receiver, _ := event.Data["receiverId"].(string)
	if receiver == "" {
		return
	}
	now := time.Now().UTC().Format(time.RFC3339Nano)
	data := map[string]interface{}{"senderId": c.user}
	for key, value := range event.Data {
		if key != "receiverId" {
			data[key] = value
		}
	}
	h.publish(envelope{Type: event.Type, TargetUserID: receiver, Data: data, Timestamp: now})
	if event.Type == "chat_message" {
		h.publish(envelope{Type: "chat_message_sent", TargetUserID: c.user, Data: event.Data, Timestamp: now})
	}
}

func (h *hub) readPump(c *client, handle func(*client, []byte)) {
	defer c.close()
	c.conn.SetReadLimit(messageBytesMax)
	c.conn.SetReadDeadline(time.Now().Add(pongTimeout))
	c.conn.SetPongHandler(func(string) error {
		return c.conn.SetReadDeadline(time.Now().Add(pongTimeout))
	})
	for {
		_, message, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		handle(c, message)
	}
}

func (c *client) writePump(done chan struct{}) {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	defer c.close()
	for {
		select {
		case message := <-c.send:
			c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if c.conn.WriteMessage(websocket.TextMessage, message) != nil {
				return
			}
		case <-ticker.C:
			c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if c.conn.WriteMessage(websocket.PingMessage, nil) != nil {
				return
			}
		case <-done:
			return
		}
	}
}

// verify checks an HS256 token and its expiry and returns its subject.
func (h *hub) verify(token string) (string, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", false
	}
	mac := hmac.New(sha256.New, h.secret)
	mac.Write([]byte(parts[0] + "." + parts[1]))
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !hmac.Equal(signature, mac.Sum(nil)) {
		return "", false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Subject string `json:"sub"`
		Expiry  int64  `json:"exp"`
	}
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Expiry < time.Now().Unix() {
		return "", false
	}
	return claims.Subject, claims.Subject != ""
}

var upgrader = websocket.Upgrader{
	ReadBufferSize: 1024, WriteBufferSize: 1024,
	CheckOrigin: func(*http.Request) bool { return true },
}

func (h *hub) serve(isUser bool, handle func(*client, []byte)) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		user := ""
		if isUser {
			var ok bool
			if user, ok = h.verify(request.URL.Query().Get("token")); !ok {
				http.Error(response, "Unauthorized", http.StatusUnauthorized)
				return
			}
		}
		conn, err := upgrader.Upgrade(response, request, nil)
		if err != nil {
			return
		}
		c := &client{user: user, conn: conn, send: make(chan []byte, sendQueueMessages)}
		done := make(chan struct{})
		go c.writePump(done)
		if isUser {
			h.add(c)
			defer h.remove(c)
			greeting, _ := json.Marshal(envelope{Type: "connected", Data: map[string]interface{}{"userId": user}})
			c.queue(greeting)
		}
		h.readPump(c, handle)
		close(done)
	}
}

func main() {
	secret := flag.String("secret", "", "HS256 secret of the users' tokens")
	address := flag.String("redis", "", "HOST:PORT")
	certificate := flag.String("certificate", "", "PEM file; with -key: TLS")
	key := flag.String("key", "", "PEM file")
	flag.Parse()
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
	h := &hub{users: make(map[string]map[*client]bool), secret: []byte(*secret)}
	if *address != "" {
		// As many connections as the usual client libraries pool for one core.
		h.redis = &redis.Pool{MaxIdle: 10, MaxActive: 11, Wait: true, Dial: func() (redis.Conn, error) {
			return redis.Dial("tcp", *address)
		}}
		go h.subscribe()
	}
	http.HandleFunc("/ws", h.serve(true, h.route))
	http.HandleFunc("/echo", h.serve(false, func(c *client, message []byte) { c.queue(message) }))
	http.HandleFunc("/publish", h.serve(false, func(c *client, message []byte) {
		var event envelope
		if json.Unmarshal(message, &event) == nil {
			h.publish(event)
		}
	}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("sockets ws://%s\n", listener.Addr())
	if *certificate != "" {
		log.Fatal(http.ServeTLS(listener, nil, *certificate, *key))
	}
	log.Fatal(http.Serve(listener, nil))
}
