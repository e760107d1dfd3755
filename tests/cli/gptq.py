"""quantize --method gptq on the embedded model: better than rounding on text that it was not calibrated on, recorded in
the file, the same bytes every time, refused without a text."""
import json
import os
import subprocess
import sys
import tempfile

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
    options = ["--calibration", calibration, "--length", "256"]
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
    done = run("quantize", model, "-o", out, "--format", "q4_0", "--method", "gptq", *options, "--sequences", "100000")
    assert done.returncode == 2 and "tokens" in done.stderr and not os.path.exists(out), done.stderr
