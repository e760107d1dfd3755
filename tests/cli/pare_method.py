"""quantize --recipe pare-4bit on the embedded model: within its bits, better than GPTQ on text that it was not calibrated on,
the same bytes for any number of threads and after a kill in any of its phases; the plan is a file that can be used again."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

pare, source = sys.argv[1], sys.argv[2]
model = os.path.join(source, "models", "ref-llama-11m")
text = open(os.path.join(source, "models", "evaluation.txt"), encoding="utf8").read()


def run(*arguments):
    return subprocess.run([pare, *arguments], capture_output=True, text=True)


def result_of(*arguments):
    done = run(*arguments, "--json", "--quiet")
    assert done.returncode == 0, (arguments, done.stderr)
    return json.loads(done.stdout)


with tempfile.TemporaryDirectory() as folder:
    def path(name):
        return os.path.join(folder, name)

    half = text.index("\n", len(text) // 2)
    open(path("calibration.txt"), "w", encoding="utf8").write(text[:half])
    open(path("test.txt"), "w", encoding="utf8").write(text[half:])
    options = ["--calibration", path("calibration.txt"), "--length", "128", "--sequences", "12"]
    recipe = ["quantize", model, *options, "--recipe", "pare-4bit"]

    def divergence(file):
        return result_of("eval", file, "--against", model, "--text", path("test.txt"), "--context", "256", "--no-store")["kld_mean"]

    result_of("quantize", model, *options, "-o", path("gptq.gguf"), "--format", "q4_k", "--method", "gptq")
    written = result_of(*recipe, "-o", path("one.gguf"), "-t", "1", "--plan-out", path("plan.json"))
    assert 4.4 < written["bits_per_weight"] <= 4.5 and written["method"] == "pare" and written["llama_cpp"], written
    one = open(path("one.gguf"), "rb").read()
    found = {name: divergence(path(name + ".gguf")) for name in ("gptq", "one")}
    print(found)
    assert found["one"] < 0.85 * found["gptq"], found

    # The plan: a recipe of its own, with any method, and refused where it is wrong.
    plan = json.load(open(path("plan.json")))
    assert len(plan["formats"]) == 84 and len(set(plan["formats"].values())) > 2 and plan["method"] == "pare", plan
    again = result_of("quantize", model, "-o", path("rtn.gguf"), "--recipe", path("plan.json"), "--method", "rtn")
    assert abs(again["bits_per_weight"] - written["bits_per_weight"]) < 1e-9
    for name, change in (("bad.json", {"formats": {"blk.0.attn_q.weight": "q9_z"}}), ("other.json", {"formats": {"blk.99.attn_q.weight": "q4_k"}}),
                         ("none.json", {})):
        json.dump(change, open(path(name), "w"))
        done = run("quantize", model, "-o", path("no.gguf"), "--recipe", path(name), "--method", "rtn")
        assert done.returncode == 2 and not os.path.exists(path("no.gguf")), (name, done.stderr)
    done = run("quantize", model, *options, "-o", path("no.gguf"), "--format", "q4_k", "--method", "pare", "--max-bits", "2")
    assert done.returncode == 1 and "bits per weight" in done.stderr, done.stderr
    done = run("quantize", model, "-o", path("no.gguf"), "--format", "q4_k", "--max-bits", "4")
    assert done.returncode == 2 and "max-bits" in done.stderr, done.stderr

    # Killed in the walk, when statistics and the first blocks are kept; two threads give the bytes of one.
    out, work = path("killed.gguf"), path("killed.gguf.partial")
    process = subprocess.Popen([pare, *recipe, "-o", out, "--quiet", "-t", "2"])
    end = time.time() + 1200
    while time.time() < end and process.poll() is None:
        if os.path.exists(work):
            kept = open(work, "rb").read()
            at = kept.rfind(b"blk.3.ffn_down.weight")
            if at >= 0 and not kept[:at].endswith(b"outputs of "):
                break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL and not os.path.exists(out), "the kill came too late"
    result_of(*recipe, "-o", out, "-t", "2")
    assert open(out, "rb").read() == one and not os.path.exists(work)
