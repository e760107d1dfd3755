"""pare study from the outside: what a file may hold, kills at random moments, and everything that can go wrong.
argv: the program, the source folder, [how many kills]."""
import collections
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

program, source = sys.argv[1:3]
kills = int(sys.argv[3]) if len(sys.argv) > 3 else 10
folder = tempfile.TemporaryDirectory()
environment = {k: v for k, v in os.environ.items() if not k.startswith("PARE_")}
model = os.path.join(source, "models", "ref-llama-11m")


def path(name):
    return os.path.join(folder.name, name)


def write(name, text):
    with open(path(name), "w") as file:
        file.write(text)
    return path(name)


def command(study, store, work="work", *more):
    return [program, "study", "run", study, "--store", path(store), "--work", path(work), *more]


def run(*arguments, code=0, **more):
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=600, **more)
    assert done.returncode == code, (arguments, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def records(store, study="small"):
    return lines(run(program, "results", "--store", path(store), "--where", "study=" + study, "--json", "--limit", "0").stdout)


def study(name="small", where=model, recipes=("f16", "q8_0"), more=""):
    text = f"""name: {name}
baseline: f16
metrics: [speed, quality]
evaluation:
  text: {os.path.join(source, "models", "evaluation.txt")}
  context: 64
  windows: 1
models:
  - name: m
    path: {where}
recipes:
"""
    for recipe in recipes:
        text += f"  - name: {recipe}\n    format: {recipe}\n"
    return text + """workloads:
  - {name: a, prompt: 8, generate: 2, repetitions: 2}
  - {name: b, prompt: 4, generate: 2, repetitions: 2, kv_cache: off}
""" + more


def check_store(store):
    database = sqlite3.connect(path(store))
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


# Mistakes name file, line and key.
bad = write("bad.yaml", study().replace("prompt: 8", "promt: 8"))
said = run(*command(bad, "none.db"), code=1).stderr
assert "bad.yaml: line 17: there is no key 'promt'" in said, said
assert "nowhere.yaml" in run(*command(path("nowhere.yaml"), "none.db"), code=1).stderr
for wrong in (["study"], ["study", "walk", bad], ["study", "run"]):
    run(program, *wrong, code=2)

# The plan alone: every step, nothing stored but the store itself.
small = write("small.yaml", study())
plan = lines(run(*command(small, "a.db", "work", "--dry-run")).stdout)
steps = [s for s in plan if "kind" in s]
assert plan[-1]["steps"] == len(steps) == 1 + 2 + 2 + 4 and plan[-1]["estimated_s"] > 0
assert sum(s["kind"] == "bench" for s in steps) == 4
assert not records("a.db") and not os.path.exists(path("work"))

# Killed again and again, it goes on where it was: one record of each step, whatever happened.
random.seed(os.getpid())
seen, done = [], None
for i in range(kills):
    process = subprocess.Popen(command(small, "a.db"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    try:
        process.wait(random.uniform(0.05, 2.5))
        done = done if done is not None else i
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    check_store("a.db") if os.path.exists(path("a.db")) else None
rest = lines(run(*command(small, "a.db")).stdout)
assert rest[-1] == dict(rest[-1], steps=9, done=9, failed=0), rest[-1]
kept = records("a.db")
count = collections.Counter((r["kind"], r.get("cell"), r.get("step_hash")) for r in kept)
wanted = collections.Counter((s["kind"], s["cell"], s["step_hash"]) for s in steps)
assert +count - collections.Counter({k: v for k, v in count.items() if k[0] == "study"}) == wanted, (count, wanted)
assert sum(v for k, v in count.items() if k[0] == "study") == 1
assert not any(r["failure"] for r in kept) and not os.listdir(os.path.join(path("work"), "rounds"))
assert not [f for f in os.listdir(path("work")) if "tmp-" in f]
for r in kept:
    if r["kind"] == "bench":
        assert r["decode_tokens_per_s"] > 0 and r["kv_cache"] == ("off" if r["workload"] == "b" else "on")
        assert r["batch"] == "1" and r["recipe"] in ("f16", "q8_0") and r["synthetic"] == "no" and r["label"]
    if r["kind"] == "eval":
        assert 0 < r["kld_mean"] < 0.01 and r["cell"].count("/") == 2
    if r["kind"] == "model":
        assert r["layers"] > 1 and r["parameters"] > 1e7
print(f"killed {kills} times, complete after {'them' if done is None else done}")

# Nothing left to do: nothing is added. --again measures all; an edited file only what changed.
run(*command(small, "a.db"))
assert len(records("a.db")) == len(kept)
small = write("small.yaml", study(more="title: With a title\n"))
assert len(lines(run(*command(small, "a.db")).stdout)) == 1
small = write("small.yaml", study().replace("prompt: 8", "prompt: 9"))
again = lines(run(*command(small, "a.db")).stdout)
assert sorted(r["cell"] for r in again[:-1]) == ["m/f16/cpu/a", "m/q8_0/cpu/a"], again
order = [r["cell"] for r in lines(run(*command(small, "a.db", "work", "--again")).stdout)[:-1]]
assert len(order) == 9
dry = [s["cell"] for s in lines(run(*command(small, "a.db", "work", "--dry-run")).stdout)[:-1]]
assert sorted(order) == sorted(dry)

# What fails is a row with its reason, and the rest goes on.
odd = write("odd.yaml", study("odd", recipes=("f16", "q9_9"), more="""  - {name: c, prompt: 4, generate: 2, batch: 4, kv_cache: off, recipes: [f16]}
  - {name: d, prompt: 4, generate: 2, isa: z80, recipes: [f16]}
  - {name: e, prompt: 4, generate: 2, batch: 3, recipes: [f16]}
"""))
rows = lines(run(*command(odd, "a.db")).stdout)
failed = {r["cell"]: r["failure"] for r in rows[:-1] if r["failure"]}
assert set(failed) == {"m/q9_9", "m/f16/cpu/c", "m/f16/cpu/d"}, failed
assert "q9_9" in failed["m/q9_9"] and "without a KV cache" in failed["m/f16/cpu/c"] and "z80" in failed["m/f16/cpu/d"]
assert rows[-1]["failed"] == 1 + 1 + 2 + 2
batched = [r for r in rows[:-1] if r["cell"] == "m/f16/cpu/e" and r["kind"] == "bench"]
assert len(batched) == 1 and batched[0]["batch"] == "3" and batched[0]["decode_tokens_per_s"] > 0, batched
assert len(lines(run(*command(odd, "a.db")).stdout)) == 1
assert len(lines(run(*command(odd, "a.db", "work", "--retry")).stdout)) == 1 + 3

# A model that disappears midway; one that was never there; random weights in its place.
gone = path("gone")
shutil.copytree(model, gone)
vanishing = write("vanishing.yaml", study("vanishing", gone))
process = subprocess.Popen(command(vanishing, "a.db", "work2"), stdout=subprocess.PIPE, text=True, env=environment)
first = process.stdout.readline()
assert json.loads(first)["kind"] == "model", first
shutil.rmtree(gone)
rows = lines(process.communicate()[0])
assert process.returncode == 0
reasons = [r["failure"] for r in rows[:-1] if r["failure"]]
assert reasons and all("gone" in r for r in reasons), reasons
absent = write("absent.yaml", study("absent", path("nothing-here")))
rows = lines(run(*command(absent, "a.db")).stdout)
assert rows[0]["kind"] == "model" and "nothing-here" in rows[0]["failure"] and rows[-1]["failed"] == 9
fallback = write("fallback.yaml", study("fallback", path("nothing-here") + "\n    fallback_shape: distilgpt2", ("q8_0", "f16")))
rows = lines(run(*command(fallback, "a.db")).stdout)
assert rows[-1]["failed"] == 0 and rows[-1]["steps"] == 1 + 2 + 4, rows[-1]
assert all(r["synthetic"] == "yes" for r in rows[:-1]) and "nothing-here" in rows[0]["note"]
assert not [f for f in os.listdir(path("work")) if "distilgpt2" in f or f.startswith("m-") and "fallback" in f]


# A disk that is full: for the models, and for the store itself.
def small_files(limit):
    def limiter():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return limiter


full = write("full.yaml", study("full"))
rows = lines(run(*command(full, "full.db", "work3"), preexec_fn=small_files(8 << 20)).stdout)
failed = {r["cell"]: r["failure"] for r in rows[:-1] if r["failure"]}
assert set(failed) == {"m/f16", "m/q8_0"} and "work3" in failed["m/f16"] and "too large" in failed["m/f16"], failed
check_store("full.db")
done = run(*command(full, "tiny.db", "work3"), preexec_fn=small_files(40 << 10), code=1)
assert "tiny.db" in done.stderr, done.stderr
if os.path.exists(path("tiny.db")):
    check_store("tiny.db")
run(*command(full, "tiny.db", "work3"))
assert not [r for r in records("tiny.db", "full") if r["failure"]]

# A store that is locked, and one that cannot be written.
lock = sqlite3.connect(path("full.db"))
lock.execute("BEGIN EXCLUSIVE")
done = run(*command(full, "full.db", "work3", "--retry"), code=1)
assert "full.db" in done.stderr and "another process holds the database" in done.stderr, done.stderr
lock.rollback()
lock.close()
check_store("full.db")


def nobody():
    os.setgid(65534)
    os.setuid(65534)


# Root writes where it may not: another user tries, where it can reach the program and the model.
os.makedirs(path("work4"))
os.chmod(path("work4"), 0o777)
os.chmod(folder.name, 0o755)
os.chmod(path("full.db"), 0o444)
other = dict(preexec_fn=nobody) if os.geteuid() == 0 else {}
try:
    subprocess.run([program, "inspect", model], check=True, capture_output=True, **other)
    reachable = True
except (OSError, subprocess.SubprocessError):
    reachable = False
if reachable:
    done = run(*command(full, "full.db", "work4", "--retry"), code=1, **other)
    assert "full.db" in done.stderr and ("read-only" in done.stderr or "readonly" in done.stderr), done.stderr
os.chmod(path("full.db"), 0o644)
check_store("full.db")

# Two at once with one folder.
process = subprocess.Popen(command(full, "full.db", "work3", "--again"), stdout=subprocess.PIPE, text=True, env=environment)
process.stdout.readline()
os.kill(process.pid, signal.SIGSTOP)
done = run(*command(full, "tiny.db", "work3"), code=1)
assert "another study is running" in done.stderr, done.stderr
process.kill()
process.communicate()
print("ok")
