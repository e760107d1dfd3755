"""pare quantize from outside: what it prints, how it fails, and that killing it at any moment leaves the old file or the new.

usage: quantize.py PARE SOURCE_FOLDER
"""
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

pare, source = sys.argv[1], sys.argv[2]
model = os.path.join(source, "models", "ref-llama-11m")


def run(*arguments, code=0):
    done = subprocess.run([pare, "quantize", *arguments], capture_output=True, text=True)
    assert done.returncode == code, f"{arguments}: exit code {done.returncode}, {done.stderr}"
    return done


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def check_output(folder):
    out = os.path.join(folder, "out.gguf")
    done = json.loads(run(model, "-o", out, "--format", "q4_k", "--json").stdout)
    assert done["bytes"] == done["predicted_bytes"] == os.path.getsize(out), done
    assert done["bits_per_weight"] == 4.5 and done["fallbacks"] == [] and done["method"] == "rtn", done
    assert done["llama_cpp"] and not done["requantized"], done
    plan = json.loads(run(model, "--format", "q4_k", "--dry-run", "--json").stdout)
    assert plan["predicted_bytes"] == done["bytes"] and "bytes" not in plan, plan
    assert {t["tensor"]: t["to"] for t in plan["tensors"]}["token_embd.weight"] == "bf16"
    mixed = json.loads(run(model, "--format", "q4_0", "--tensor", "ffn_down=q8_0", "--dry-run", "--json").stdout)
    kinds = {t["tensor"]: t["to"] for t in mixed["tensors"]}
    assert kinds["blk.3.ffn_down.weight"] == "q8_0" and kinds["blk.3.ffn_up.weight"] == "q4_0", kinds
    # Bits per weight of llama-quantize's files of the same model.
    for recipe, bits in [("q2_k", 2.9297), ("q3_k_s", 3.4375), ("q3_k_m", 3.8429), ("q4_k_s", 4.5347),
                         ("gguf-Q4_K_M", 4.8008), ("q5_k_m", 5.6549), ("iq4_xs", 4.276), ("iq4_nl", 4.5208)]:
        plan = json.loads(run(model, "--recipe", recipe, "--dry-run", "--json").stdout)
        assert abs(plan["bits_per_weight"] - bits) < 1e-4, (recipe, plan["bits_per_weight"], bits)
    assert "llama.cpp cannot open" in run(model, "-o", out, "--format", "i4_g64").stdout
    one, two = os.path.join(folder, "1.gguf"), os.path.join(folder, "2.gguf")
    run(model, "-o", one, "--format", "q3_k", "-t", "1")
    run(model, "-o", two, "--format", "q3_k", "-t", "2")
    assert digest(one) == digest(two), "the number of threads changes the file"


def check_mistakes(folder):
    out = os.path.join(folder, "out.gguf")
    for arguments, words in [
        ([model, "-o", out], "give --format or --recipe"),
        ([model, "--format", "q4_0"], "-o"),
        (["-o", out, "--format", "q4_0"], "MODEL"),
        ([model, "-o", out, "--format", "q9"], "there are: f32"),
        ([model, "-o", out, "--recipe", "q4_k_x"], "there are: q2_k"),
        ([model, "-o", out, "--recipe", "q4_k_m", "--format", "q4_0"], "--format or --recipe"),
        ([model, "-o", out, "--format", "iq2_s"], "read but not written"),
        ([model, "-o", out, "--format", "q4_0", "--tensor", "ffn"], "regex=format"),
        ([model, "-o", out, "--format", "q4_0", "--tensor", "ffn=q0"], "no format"),
    ]:
        assert words in run(*arguments, code=2).stderr, (arguments, words)
    assert "matches no matrix" in run(model, "-o", out, "--format", "q4_0", "--tensor", "zz=q8_0", code=2).stderr
    assert "/no/where" in run(model, "-o", "/no/where/x.gguf", "--format", "q4_0", code=1).stderr
    run(model, "-o", out, "--format", "q8_0")
    assert "model itself" in run(out, "-o", out, "--format", "q4_0", code=2).stderr


def check_kills(folder):
    out, new_file = os.path.join(folder, "out.gguf"), os.path.join(folder, "new.gguf")
    run(model, "-o", out, "--format", "q8_0")
    start = time.monotonic()
    run(model, "-o", new_file, "--format", "q5_k")
    seconds = time.monotonic() - start
    with open(out, "rb") as file:
        old_bytes = file.read()
    old, new, cut = digest(out), digest(new_file), 0
    rolls = random.Random(5)
    for i in range(12):
        # The first ones surely hit while it writes; the last may come too late.
        process = subprocess.Popen([pare, "quantize", model, "-o", out, "--format", "q5_k", "-q"])
        time.sleep(seconds * (0.3 if i < 2 else rolls.uniform(0, 1.2)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = digest(out)
        assert found in (old, new), f"kill {i}: neither the old file nor the new one"
        cut += process.returncode == -signal.SIGKILL
        assert process.returncode != 0 or found == new, "it ended well without the new file"
        with open(out, "wb") as file:
            file.write(old_bytes)
    assert cut, "no kill came in time: the test shows nothing"
    print(f"12 kills, {cut} of them before the end")


with tempfile.TemporaryDirectory() as folder:
    check_output(folder)
    check_mistakes(folder)
    check_kills(folder)
