"""Methods that act on activations, from outside: what the file says of activations, what eval and bench make of it, and
what is refused."""
import json
import os
import subprocess
import sys
import tempfile

pare, source = sys.argv[1], sys.argv[2]
model = os.path.join(source, "models", "ref-llama-11m")
text = os.path.join(source, "models", "evaluation.txt")


def run(*arguments):
    return subprocess.run([pare, *arguments], capture_output=True, text=True)


def result_of(*arguments):
    done = run(*arguments, "--json", "--quiet")
    assert done.returncode == 0, (arguments, done.stderr)
    return json.loads(done.stdout)


def refused(words, *arguments, code=2):
    done = run(*arguments)
    assert done.returncode == code and all(word in done.stderr for word in words), (arguments, done.returncode, done.stderr)


with tempfile.TemporaryDirectory() as folder:
    def path(name):
        return os.path.join(folder, name + ".gguf")

    def evaluate(name, *further):
        return result_of("eval", path(name), "--against", model, "--text", text, "--context", "256", "--windows", "8",
                         "--no-store", *further)

    for name, options in {"rtn": ["--format", "i8_ch"], "w8a8": ["--method", "w8a8"],
                          "llm": ["--method", "llm_int8", "--threshold", "4"], "recipe": ["--recipe", "bnb-int8"],
                          "ort": ["--method", "ort_dynamic", "--reduce-range"],
                          "channel": ["--recipe", "ort-int8-channel"]}.items():
        made = result_of("quantize", model, "-o", path(name), *options)
        assert made["format"] == "i8_ch" or "--recipe" in options, made
    results = {name: evaluate(name) for name in ("rtn", "w8a8", "llm", "recipe", "ort", "channel")}
    roundings = {name: result["input_rounding"] for name, result in results.items()}
    assert roundings == {"rtn": "exact", "w8a8": "w8a8", "llm": "llm_int8", "recipe": "llm_int8", "ort": "ort_dynamic",
                         "channel": "ort_dynamic"}, roundings
    kld = {name: result["kld_mean"] for name, result in results.items()}
    assert kld["rtn"] < kld["llm"] < kld["recipe"] < kld["w8a8"] < kld["channel"] < kld["ort"], kld
    shares = results["llm"]["outlier_column_shares"]
    assert len(shares) == 12 and all(0 < share < 1 for share in shares), shares
    assert sum(results["recipe"]["outlier_column_shares"]) < sum(shares)
    for name in ("w8a8", "llm", "ort"):
        fast = evaluate(name, "--activations", "fast")["kld_mean"]
        assert abs(fast / kld[name] - 1) < 0.1, (name, fast, kld[name])

    # Copying the bytes keeps what they ask for; rounding them anew does not.
    result_of("quantize", path("llm"), "-o", path("copy"), "--format", "i8_ch")
    assert evaluate("copy")["kld_mean"] == kld["llm"]
    result_of("quantize", path("llm"), "-o", path("other"), "--format", "q8_0")
    assert evaluate("other")["input_rounding"] == "exact"

    calibration = ["--calibration", text, "--length", "128", "--sequences", "16"]
    made = result_of("quantize", model, "-o", path("smooth"), "--recipe", "smoothquant-w8a8", "--alpha", "0.6", *calibration)
    assert made["method"] == "smoothquant"
    assert evaluate("smooth")["input_rounding"] == "w8a8"
    result_of("quantize", model, "-o", path("rounded"), "--format", "i4_g64")
    result_of("quantize", model, "-o", path("awq"), "--format", "i4_g64", "--method", "awq", *calibration)
    assert evaluate("awq")["kld_mean"] < 0.9 * evaluate("rounded")["kld_mean"]
    refused(["scaled"], "quantize", path("awq"), "-o", path("none"), "--format", "i4_g64", "--method", "awq", *calibration,
            code=1)

    out = ["quantize", model, "-o", path("none")]
    refused(["threshold"], *out, "--method", "llm_int8", "--threshold", "-3")
    refused(["threshold", "llm_int8", "w8a8"], *out, "--method", "w8a8", "--threshold", "6")
    refused(["per-channel", "ort_dynamic"], *out, "--method", "llm_int8", "--per-channel")
    refused(["i8_ch", "q4_0"], *out, "--method", "ort_dynamic", "--format", "q4_0")
    refused(["bnb-int8", "llm_int8"], *out, "--recipe", "bnb-int8", "--method", "gptq")
    refused(["no method", "llm_int8"], *out, "--method", "llm-int8", "--format", "i8_ch")
    refused(["alpha", "1.5"], *out, "--method", "smoothquant", "--alpha", "1.5", *calibration)
    refused(["alpha", "x"], *out, "--method", "smoothquant", "--alpha", "x", *calibration)
    refused(["alpha", "smoothquant"], *out, "--method", "w8a8", "--alpha", "auto")
    refused(["calibration"], *out, "--method", "smoothquant")
    refused(["calibration"], *out, "--recipe", "awq-4bit-g128")
    refused(["f16", "codes"], *out, "--format", "f16", "--method", "awq", *calibration, code=1)
    refused(["format"], *out, "--method", "rtn")
    refused(["calibration"], *out, "--recipe", "gptq-4bit-g128")
    assert not os.path.exists(path("none"))
