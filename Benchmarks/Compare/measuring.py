"""One measurement: a server started for it, the load client beside it, and a look at who else used the
machine meanwhile. A measurement that others disturbed is done again."""
import json
import os
import signal
import subprocess
import time

from programs import TOOLS
from servers import Running, prepare_child
from work import arguments_for

NOISE_MAX = 0.10  # of one core: used by other processes, or taken by the hypervisor
TRIES_MAX = 4


def command_for(arguments, running, options):
    # {index} and {partner} are the client's own: only what is known here is filled in.
    command = [os.path.join(TOOLS, "load")]
    command += [part.replace("{ws}", running.url).replace("{redis}", running.redis)
                for part in arguments]
    command += ["--core", str(options.client_core), "--ksoftirqd", str(options.server_core),
                "--pid", ",".join(map(str, running.process_ids())), "--json"]
    if "--seconds" not in arguments:
        command += ["--seconds", str(options.seconds)]
    return command


def run_client(command, options):
    if options.show:
        options.say("  $ " + " ".join(command))
    # In a session of its own: a Ctrl-C is ours to handle, in order.
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              start_new_session=True, preexec_fn=prepare_child(os.sched_getaffinity(0)))
    try:
        out, error = client.communicate(timeout=300)
    except BaseException:
        os.kill(client.pid, signal.SIGKILL)
        client.wait()
        raise
    if not out:
        raise RuntimeError(error.strip() or f"the client ended with {client.returncode}")
    return json.loads(out)


def measure(row, server, options):
    running = Running(server, row.settings, options)
    try:
        return run_client(command_for(arguments_for(row, server), running, options), options)
    finally:
        running.stop()


def busy_seconds():
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet(seconds_max):
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        before = busy_seconds()
        time.sleep(0.3)
        if busy_seconds() - before < 0.3 * NOISE_MAX:
            return


def noise_of(result):
    return result.get("otherCPUShare", 0) + result.get("stolenCPUShare", 0)


def measure_quietly(row, server, options):
    """The first quiet measurement, or the last of several noisy ones, which is then marked."""
    for attempt in range(TRIES_MAX):
        wait_for_quiet(options.patience)
        result = measure(row, server, options)
        # Bytes do not mind who else computes.
        result["noisy"] = row.what != "memory" and noise_of(result) > NOISE_MAX
        result["tries"] = attempt + 1
        if not result["noisy"]:
            break
        options.say(f"    noisy: others {result['otherCPUShare']:.2f}, stolen "
                    f"{result['stolenCPUShare']:.2f} of a core, try {attempt + 1} of {TRIES_MAX}")
    return result
