"""pare eval --generate from the outside. argv: the program, the source folder."""
import json
import os
import subprocess
import sys
import tempfile

program, source = sys.argv[1:3]
folder = tempfile.TemporaryDirectory()
environment = dict(os.environ, PARE_STORE=os.path.join(folder.name, "results.db"))
model = os.path.join(source, "models", "ref-llama-11m")


def run(*arguments, code=0):
    done = subprocess.run([program, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done


small = os.path.join(folder.name, "q4.gguf")
run("quantize", model, "--format", "q4_0", "-o", small, "--quiet")
arguments = ["--against", model, "--generate", "--tokens", "6", "--json", "--samples"]
first = json.loads(run("eval", small, *arguments).stdout)
again = json.loads(run("eval", small, *arguments).stdout)
for key in ("quality_score", "log_probability", "repetition", "distinct_1", "distinct_2", "agreement", "text_hash", "sample_text"):
    assert first[key] == again[key], key
assert 0 <= first["quality_score"] <= 5 and 0 <= first["agreement"] <= 1 and first["log_probability"] < 0
assert len(first["samples"]["quality_score"]) == 16 and first["kind"] == "generate"
other = json.loads(run("eval", small, *arguments, "--seed", "2").stdout)
assert other["text_hash"] != first["text_hash"]
assert "Quality score" in run("eval", model, "--generate", "--tokens", "2", "--no-store").stdout

# It is in the store, with both models' hashes.
stored = [json.loads(line) for line in run("results", "--kind", "generate", "--json").stdout.splitlines()]
assert len(stored) == 3 and stored[0]["quality_score"] == first["quality_score"]
assert len(stored[0]["model_hash"]) == 64 and stored[0]["model_hash"] != stored[0]["against_hash"]

for wrong in (["--generate", "--text", "x"], ["--generate", "--tokens", "0"], []):
    run("eval", small, *wrong, code=2)
synthetic = os.path.join(folder.name, "d.gguf")
run("synth", "--shape", "distilgpt2", "--format", "q4_0", "-o", synthetic, "--json")
assert run("eval", synthetic, "--generate", code=1).stderr
