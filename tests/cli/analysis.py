"""pare compare, recommend and analyze from the outside, on results measured here. argv: the program, the source folder."""
import json
import os
import subprocess
import sys
import tempfile

program, source = sys.argv[1:3]
folder = tempfile.TemporaryDirectory()
store = os.path.join(folder.name, "results.db")
environment = dict(os.environ, PARE_STORE=store)
model = os.path.join(source, "models", "ref-llama-11m")
text = os.path.join(source, "models", "evaluation.txt")


def run(*arguments, code=0, **changes):
    done = subprocess.run([program, *arguments], capture_output=True, text=True, env=dict(environment, **changes))
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


# An empty store.
assert "no result" in run("compare", "a", "b", code=1).stderr
assert "no measured speed" in run("recommend", "--model", "a", code=1).stderr
assert "two measured recipes" in run("analyze", "tree", code=1).stderr
assert "no results of a study" in run("analyze", "pareto", "none", code=1).stderr

# Two recipes, measured beside each other, and evaluated on the same windows.
files = {}
for recipe in ("q8_0", "q2_k"):
    files[recipe] = os.path.join(folder.name, recipe + ".gguf")
    run("quantize", model, "--format", recipe, "-o", files[recipe], "--quiet")
bench = ["-p", "16", "-n", "4", "-t", "1", "--no-limits", "--quiet"]
run("bench", model, files["q8_0"], files["q2_k"], "-r", "12", *bench)
for recipe in files:
    run("eval", files[recipe], "--against", model, "--text", text, "--context", "64", "--windows", "8", "--quiet")
    run("eval", files[recipe], "--against", model, "--generate", "--tokens", "4", "--quiet")

# Comparing.
done = json.loads(run("compare", "q8_0", "q2_k", "--json").stdout)
rows = {row["metric"]: row for row in done["metrics"]}
assert done["comparable"] and "ref-llama-11m/q8_0/cpu/" in done["a"] and "/q2_k/" in done["b"]
speed, memory, perplexity = rows["decode_tokens_per_s"], rows["weights_bytes"], rows["perplexity"]
assert speed["method"] == "paired by round" and speed["pairs"] == 4 and speed["change_is"] == "ratio"
assert speed["change"]["low"] <= speed["change"]["value"] <= speed["change"]["high"]
assert memory["method"] == "counted" and memory["better"] == "b" and memory["change"]["value"] < 0.8
assert perplexity["method"] == "paired by window" and perplexity["pairs"] == 8 and perplexity["better"] == "a"
assert rows["quality_score"]["method"] == "paired by prompt" and rows["quality_score"]["pairs"] == 16
assert rows["kld_mean"]["change_is"] == "difference" and rows["kld_mean"]["better"] == "a"
shown = run("compare", "q8_0", "q2_k").stdout
assert "Decode speed" in shown and "paired by window, 8 pairs" in shown and "A better" in shown
first = lines(run("results", "--kind", "bench", "--json").stdout)[0]["run"]
assert run("compare", str(first), "q8_0.gguf").stdout.startswith("A: ref-llama-11m/bf16/cpu/")

# Paired against unpaired, on a real pair: perplexities that overlap by far, a ratio that does not touch 1.
q4 = os.path.join(folder.name, "q4_0.gguf")
run("quantize", model, "--format", "q4_0", "-o", q4, "--quiet")
for file in (files["q8_0"], q4):
    run("eval", file, "--against", model, "--text", text, "--context", "128", "--windows", "16", "--quiet")
pair = {r["metric"]: r for r in json.loads(run("compare", "q8_0", "q4_0", "--json").stdout)["metrics"]}["perplexity"]
assert pair["a"]["high"] > pair["b"]["low"] and pair["a"]["value"] > pair["b"]["low"], pair
assert pair["pairs"] == 16 and pair["change"]["low"] > 1 and pair["better"] == "a", pair
unpaired = (pair["a"]["high"] - pair["a"]["low"]) / pair["a"]["value"]
assert pair["change"]["high"] - pair["change"]["low"] < unpaired / 3, pair

# What does not compare.
run("bench", files["q8_0"], "-r", "6", *bench[:1], "17", *bench[2:])
ids = [r["run"] for r in lines(run("results", "--kind", "bench", "--json").stdout)]
refused = run("compare", str(first), str(ids[-1]), code=1)
assert "not comparable: prompt length: 16 against 17" in refused.stderr and not refused.stdout
anyway = run("compare", str(first), str(ids[-1]), "--anyway").stdout
assert "prompt length" in anyway and "Decode speed" in anyway
assert "the same" in run("compare", str(first), str(first), code=1).stderr

# Recommending.
wish = ["recommend", "--model", "ref-llama-11m", "--workload", done["a"].rsplit("/", 1)[1], "--json"]
all_of_them = json.loads(run(*wish).stdout)
assert all_of_them["accepted"] == 3 and len(all_of_them["candidates"]) == 3 and "energy" in all_of_them["missing"]
good = json.loads(run(*wish, "--max-loss", "5%", "--prefer", "memory").stdout)
assert "/q8_0/" in good["recommended"]
rejected = [c for c in good["candidates"] if c["rejected_by"]]
assert [c["recipe"] for c in rejected] == ["q2_k"], rejected
assert rejected[0]["rejected_by"] == ["max_loss"] and "perplexity" in rejected[0]["why"], rejected
small = json.loads(run(*wish, "--prefer", "memory").stdout)
assert "/q2_k/" in small["recommended"] and small["candidates"][0]["score"] > small["candidates"][1]["score"]
none = run(*wish, "--memory", "1MB", code=1)
assert json.loads(none.stdout)["recommended"] is None and json.loads(none.stdout)["accepted"] == 0
power = json.loads(run(*wish, "--power", "30W", code=1).stdout)
assert all("unknown" in c["rejected_by"] for c in power["candidates"])
plain = run(*wish[:-1], "--max-loss", "0.05", "--latency", "10s").stdout
assert plain.startswith("Deploy ") and "changes perplexity by" in plain

# The tree, and capacity.
tree = json.loads(run("analyze", "tree", "--json").stdout)
assert tree["settings"] == 1 and tree["cross_validated"] is None and tree["tree"]["cases"] == tree["cases"]


def leaves(node):
    return leaves(node["yes"]) + leaves(node["no"]) if "yes" in node else [node]


assert sum(leaf["cases"] for leaf in leaves(tree["tree"])) == tree["cases"] > 20
assert sum(leaf["right_cases"] for leaf in leaves(tree["tree"])) == tree["right_cases"]
assert "situations" in run("analyze", "tree").stdout
rows = lines(run("analyze", "capacity", "--memory", "8GB", "--formats", "f16,q4_0", "--contexts", "4096", "--json").stdout)
by = {(r["family"], r["format"]): r for r in rows}
assert by["Llama 3", "f16"]["model"] == "Llama-3.2-3B" and by["Llama 3", "q4_0"]["model"] == "Llama-3.1-8B"
assert by["GPT-2", "f16"]["model"] is None and by["Mistral", "q4_0"]["total_bytes"] < 8e9
assert "largest" in run("analyze", "capacity").stdout

# A study: fronts, trade-offs, memory.
plan = os.path.join(folder.name, "tiny.yaml")
with open(plan, "w") as file:
    file.write(f"""
name: tiny
baseline: f16
repetitions: 2
rounds: 1
evaluation: {{text: {text}, context: 64, windows: 4}}
generation: {{tokens: 2}}
models: [{{name: ref, path: {model}}}]
recipes: [{{name: f16, format: f16}}, {{name: int8, label: INT8, format: q8_0}}]
workloads: [{{name: chat, prompt: 8, generate: 2}}]
""")
run("study", "run", plan, "--quiet")
rows = {r["recipe"]: r for r in lines(run("analyze", "tradeoffs", "tiny", "--json").stdout)}
assert rows["f16"]["decode_speedup"]["value"] == 1 and rows["f16"]["quality_loss"]["value"] == 0
assert rows["int8"]["label"] == "INT8" and rows["int8"]["memory_reduction"]["value"] > 0
assert rows["int8"]["quality_loss"]["low"] <= rows["int8"]["quality_loss"]["value"] <= rows["int8"]["quality_loss"]["high"]
assert rows["int8"]["energy_reduction"] is None and rows["int8"]["size_reduction"]["value"] > 0.1
front = lines(run("analyze", "pareto", "tiny", "--json").stdout)
assert len(front) == 2 and any(r["front"] for r in front) and "quality_loss" in front[0]
front = lines(run("analyze", "pareto", "tiny", "--metrics", "weights_bytes", "--json").stdout)
assert [r["front"] for r in front] == [False, True]
run("analyze", "pareto", "tiny", "--metrics", "threads", code=2)
memory = {r["cell"].split("/")[1]: r for r in lines(run("analyze", "memory", "tiny", "--json").stdout)}
for row in memory.values():
    assert abs(row["computed"]["kv_bytes"] / row["kv_bytes"]["value"] - 1) < 0.001, row
    assert abs(row["computed"]["weights_bytes"] / row["weights_bytes"]["value"] - 1) < 0.03, row
assert "computed" in run("analyze", "memory", "tiny").stdout and "front" in run("analyze", "pareto", "tiny").stdout
assert "against f16" in run("analyze", "tradeoffs", "tiny").stdout
assert "paired by window" in run("compare", "tiny:ref/f16", "tiny:ref/int8").stdout
for arguments in (["tradeoffs"], ["pareto"], ["memory"]):
    run("analyze", *arguments, code=2)

# Wrong usage, and stores that are not there.
for wrong in (["compare", "a"], ["compare", "a", "b", "c"], ["compare", "a", "b", "--nonsense"], ["recommend"],
              ["recommend", "--model", "m", "--memory", "big"], ["recommend", "--model", "m", "--memory", "0"],
              ["recommend", "--model", "m", "--latency", "x"], ["recommend", "--model", "m", "--max-loss", "-1%"],
              ["recommend", "--model", "m", "--power", "30V"], ["recommend", "--model", "m", "--prefer", "cheap"], ["recommend", "m", "n"],
              ["analyze"], ["analyze", "nonsense"], ["analyze", "tree", "x"], ["analyze", "pareto"], ["analyze", "capacity", "--memory", "?"],
              ["analyze", "capacity", "--formats", "zip"], ["analyze", "capacity", "--contexts", "0"]):
    run(*wrong, code=2)
nowhere = os.path.join(folder.name, "none.db")
for command in (["compare", "a", "b"], ["recommend", "--model", "m"], ["analyze", "tree"], ["analyze", "memory", "s"]):
    assert "none.db" in run(*command, "--store", nowhere, code=1).stderr
assert not os.path.exists(nowhere)
