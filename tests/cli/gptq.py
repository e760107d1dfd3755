"""quantize --method gptq on the embedded model: better than rounding on text that it was not calibrated on, recorded in
the file, the same bytes every time, refused without a text; killed and started again it goes on where it was."""
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
    calibration, test = os.path.join(folder, "calibration.txt"), os.path.join(folder, "test.txt")
    half = text.index("\n", len(text) // 2)
    open(calibration, "w", encoding="utf8").write(text[:half])
    open(test, "w", encoding="utf8").write(text[half:])
    options = ["--calibration", calibration, "--length", "256", "--sequences", "8"]
    divergence, files = {}, {}
    for name, method in (("rtn", []), ("gptq", ["--method", "gptq", *options]), ("again", ["--method", "gptq", *options])):
        out = os.path.join(folder, name + ".gguf")
        result_of("quantize", model, "-o", out, "--format", "i4_g128_asym", *method)
        files[name] = open(out, "rb").read()
        divergence[name] = result_of("eval", out, "--against", model, "--text", test, "--context", "256",
                                     "--no-store")["kld_mean"]
    print(divergence)
    assert divergence["gptq"] < 0.9 * divergence["rtn"], divergence
    assert files["gptq"] == files["again"]
    assert b"pare.calibration.source" in files["gptq"] and b"pare.calibration" not in files["rtn"]

    out = os.path.join(folder, "none.gguf")
    done = run("quantize", model, "-o", out, "--format", "q4_0", "--method", "gptq")
    assert done.returncode == 2 and "calibration" in done.stderr and not os.path.exists(out), done.stderr
    done = run("quantize", model, "-o", out, "--format", "q4_0", "--method", "gptq", "--calibration", calibration, "--length", "256",
               "--sequences", "100000")
    assert done.returncode == 2 and "tokens" in done.stderr and not os.path.exists(out), done.stderr

    # Killed after a few blocks: the work file holds them, is used, and is gone at the end.
    out, work = os.path.join(folder, "killed.gguf"), os.path.join(folder, "killed.gguf.partial")
    command = [pare, "quantize", model, "-o", out, "--format", "i4_g128_asym", "--method", "gptq", *options, "--quiet"]
    process = subprocess.Popen(command)
    end = time.time() + 300
    while time.time() < end and process.poll() is None and (not os.path.exists(work) or os.path.getsize(work) < 500000):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL and not os.path.exists(out), "the kill came too late"
    kept = open(work, "rb").read()
    assert kept.startswith(b"PAREWRK1") and b"blk.0.attn_q.weight" in kept, "no finished block was kept"
    print(f"killed with {len(kept)} bytes of finished work")
    result_of(*command[1:])
    assert open(out, "rb").read() == files["gptq"] and not os.path.exists(work)
    # A cut last record is dropped, a damaged one and those behind it too; another key is not used at all.
    for name, data in (("cut", kept[:-100]), ("damaged", kept[:200000] + b"x" + kept[200001:]),
                       ("other", kept[:20] + b"0" * 52 + kept[72:])):
        open(work, "wb").write(data)
        os.remove(out)
        result_of(*command[1:])
        assert open(out, "rb").read() == files["gptq"] and not os.path.exists(work), name
    # What was kept is really used: a record that was replaced, with its hash, shows in the output.
    import hashlib
    name_length, size = int.from_bytes(kept[72:76], "little"), int.from_bytes(kept[76:84], "little")
    head = kept[72:84 + name_length]
    zeros = bytes(size)
    first = head + zeros + hashlib.sha256(head + zeros).hexdigest().encode()
    open(work, "wb").write(kept[:72] + first + kept[72 + len(first):])
    result_of(*command[1:])
    assert open(out, "rb").read() != files["gptq"], "the work file was not used"

    # The methods that rescale blocks keep those too.
    for method, form in (("awq", "i4_g128_asym"), ("smoothquant", "i8_ch")):
        out = os.path.join(folder, method + ".gguf")
        command = [pare, "quantize", model, "-o", out, "--format", form, "--method", method, *options, "--quiet"]
        result_of(*command[1:])
        whole, work = open(out, "rb").read(), out + ".partial"
        os.remove(out)
        process = subprocess.Popen(command)
        end = time.time() + 300
        while time.time() < end and process.poll() is None and (not os.path.exists(work) or b"block 1" not in open(work, "rb").read()):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL and not os.path.exists(out), "the kill came too late"
        kept = open(work, "rb").read()
        for name, data in (("kept", kept), ("cut", kept[:len(kept) // 2])):
            open(work, "wb").write(data)
            result_of(*command[1:])
            assert open(out, "rb").read() == whole and not os.path.exists(work), (method, name)
            os.remove(out)
        # A record that was replaced, with its hash, shows in the output.
        name_length, size = int.from_bytes(kept[72:76], "little"), int.from_bytes(kept[76:84], "little")
        head = kept[72:84 + name_length]
        first = head + bytes(size) + hashlib.sha256(head + bytes(size)).hexdigest().encode()
        open(work, "wb").write(kept[:72] + first + kept[72 + len(first):])
        result_of(*command[1:])
        assert open(out, "rb").read() != whole, f"{method}: the work file was not used"

    # A text that the model writes: seeded, recorded.
    selves = {}
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        out = os.path.join(folder, f"self-{name}.gguf")
        result_of("quantize", model, "-o", out, "--format", "q4_0", "--method", "gptq", "--calibration", "self",
                  "--sequences", "4", "--length", "128", "--seed", seed)
        selves[name] = open(out, "rb").read()
    assert selves["a"] == selves["b"] != selves["c"]
    assert b"self, seed 1" in selves["a"] and b"pare.calibration.sha256" in selves["a"]
