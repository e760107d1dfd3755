"""pare inspect: the JSON agrees with the files, and bad input is one line and an exit code."""
import json
import os
import subprocess
import sys

pare, source = sys.argv[1:3]


def run(*arguments):
    return subprocess.run([pare, "inspect", *arguments], capture_output=True, text=True)


folder = os.path.join(source, "models", "ref-llama-11m")
config = json.load(open(os.path.join(folder, "config.json")))
shards = json.load(open(os.path.join(folder, "model.safetensors.index.json")))

result = run(folder, "--json", "--tensors")
assert result.returncode == 0, result.stderr
facts = json.loads(result.stdout)
assert facts["container"] == "safetensors" and facts["architecture"] == config["model_type"]
assert facts["runnable"] is True and facts["quantized"] is False
assert facts["hidden"] == config["hidden_size"] and facts["layers"] == config["num_hidden_layers"]
assert facts["bits_per_weight"] == 16 and facts["format"] == "bf16"
assert facts["weights_bytes"] == shards["metadata"]["total_size"]
assert {tensor["name"] for tensor in facts["tensors"]} == set(shards["weight_map"])
assert sum(tensor["bytes"] for tensor in facts["tensors"]) == facts["weights_bytes"]
assert facts["metadata"]["rope_parameters"] == config["rope_parameters"]

text = run(folder, "--tensors").stdout
assert "model.layers.11.mlp.up_proj.weight" in text and "12 layers" in text, text

seeds = os.path.join(source, "tests", "fuzz", "corpus")
for seed, code, message in [("gguf/llama", 0, ""), ("gguf/quantized", 0, ""), ("gguf/truncated", 1, "bytes"),
                            ("gguf/counts", 1, "metadata keys"), ("none", 1, "no such file"),
                            ("config/llama", 2, "neither a folder nor")]:
    result = run(os.path.join(seeds, seed))
    assert result.returncode == code, (seed, result)
    assert message in result.stderr and result.stderr.count("\n") == (1 if code else 0), (seed, result.stderr)
result = run(os.path.join(seeds, "gguf", "quantized"), "--json")
assert json.loads(result.stdout)["runnable"] is False and "general.architecture" in result.stdout
assert run().returncode == 2
print("ok")
