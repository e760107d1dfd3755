"""pare inspect: the JSON agrees with the files, and bad input is one line and an exit code."""
import json
import os
import subprocess
import sys
import tempfile

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

# The weights themselves: against the model that a file was made from, and against itself.
with tempfile.TemporaryDirectory() as scratch:
    small, chart = os.path.join(scratch, "small.gguf"), os.path.join(scratch, "error.svg")
    subprocess.run([pare, "quantize", folder, "-o", small, "--format", "q8_0", "--quiet"], check=True)
    result = run(small, "--error", folder, "--json", "-o", chart)
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    matrices = [t for t in facts["weights"] if t["name"].startswith("blk.") and t["rows"] > 1]
    assert len(matrices) == 84 and all(t["format"] == "q8_0" for t in matrices)
    for tensor in matrices: # rows of q and k change places in the file: they would be far off
        assert 0.002 < tensor["relative_error"] < 0.012, tensor
        assert len(tensor["worst_rows"]) == 3 and tensor["worst_rows"][0]["relative_error"] < 0.03
        assert sum(tensor["histogram"]) == tensor["rows"] * tensor["columns"]
    assert 40 < facts["snr_db"] < 50 and open(chart).read().startswith("<?xml")
    norm = next(t for t in facts["weights"] if t["name"] == "output_norm.weight")
    assert norm["relative_error"] == 0 and norm["snr_db"] is None
    result = run(folder, "--error", folder, "--histogram")
    assert result.returncode == 0 and "the same" in result.stdout and "█" in result.stdout
    assert run(small, "-o", os.path.join(scratch, "error.txt")).returncode == 2
    result = run(small, "--error", os.path.join(source, "models"))
    assert result.returncode != 0 and result.stderr.count("\n") == 1, result
print("ok")
