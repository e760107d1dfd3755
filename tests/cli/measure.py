"""pare hw, synth, bench and results from the outside: exit codes, JSON, the store. argv: the program, the source folder."""
import csv
import io
import json
import os
import subprocess
import sys
import tempfile

program, source = sys.argv[1:3]
folder = tempfile.TemporaryDirectory()
store = os.path.join(folder.name, "deep", "results.db")
environment = dict(os.environ, PARE_STORE=store)
model = os.path.join(source, "models", "ref-llama-11m")


def run(*arguments, code=0, **changes):
    done = subprocess.run([program, *arguments], capture_output=True, text=True, env=dict(environment, **changes))
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


# The machine.
facts = json.loads(run("hw", "--json").stdout)
assert facts["cores"] >= 1 and len(facts["fingerprint"]) == 16
for key, reason in facts["absent"].items():
    assert facts[key] is None and reason
limits = json.loads(run("hw", "--limits", "--json").stdout)
for key in ("read_bandwidth_bytes_per_s", "fp32_flops_per_s"):
    assert limits[key] > 1e8, key
for limit in limits["limits"]:
    assert limit["low"] <= limit["median"] <= limit["high"] and limit["samples"] > 5
assert "CPU" in run("hw").stdout
kept = lines(run("results", "--kind", "limits", "--json").stdout)
assert any(r.get("fp32_flops_per_s") == limits["fp32_flops_per_s"] for r in kept)

# A synthetic model, and one that does not exist: one row fails, the others are measured.
synthetic = os.path.join(folder.name, "d.gguf")
made = json.loads(run("synth", "--shape", "distilgpt2", "--format", "q4_0", "-o", synthetic, "--json").stdout)
assert made["parameters"] == 81912576 and os.path.getsize(synthetic) == made["bytes"]
arguments = ["-p", "16", "-n", "4", "-r", "2", "--rounds", "2", "--budget", "1", "-t", "2"]
rows = lines(run("bench", model, "/nonexistent.gguf", synthetic, *arguments, "--json", "--samples", code=1).stdout)
assert [r["failure"] is None for r in rows] == [True, False, True]
assert "nonexistent" in rows[1]["failure"] and rows[1]["decode_tokens_per_s"] is None
assert rows[0]["synthetic"] == "no" and rows[2]["synthetic"] == "yes" and rows[2]["format"] == "q4_0"
for row in (rows[0], rows[2]):
    for key in ("prefill_tokens_per_s", "decode_tokens_per_s", "ttft_ms", "load_ms", "peak_rss_bytes", "weights_bytes", "kv_bytes",
                "scratch_bytes", "bandwidth_share", "peak_share", "itl_ms_p50", "itl_ms_p99"):
        assert row[key] > 0, key
    assert row["threads"] == 2 and row["n_prompt"] == 16 and row["context"] == 20 and len(row["model_hash"]) == 64
    assert len(row["samples"]["prefill_tokens_per_s"]) == 2 and len(row["samples"]["itl_ms_p50"]) == 8
    assert row["itl_ms_p50"] <= row["itl_ms_p99"]
    assert row["prefill_tokens_per_s_ci_low"] <= row["prefill_tokens_per_s"] <= row["prefill_tokens_per_s_ci_high"]
assert rows[0]["peak_rss_bytes"] > rows[0]["weights_bytes"]

# Several sequences: caches of their own, one step for all; not without a cache.
one, three = (lines(run("bench", model, *arguments, "--batch", n, "--no-store", "--json", "--samples").stdout)[0] for n in ("1", "3"))
assert one["batch"] == "1" and three["batch"] == "3" and three["context"] == 20 and three["kv_bytes"] == 3 * one["kv_bytes"]
assert len(three["samples"]["itl_ms_p50"]) == 8  # of 2 repetitions, by steps
for row, tokens in ((one, 4), (three, 12)):
    for i, rate in enumerate(row["samples"]["decode_tokens_per_s"]):
        assert abs(rate * sum(row["samples"]["itl_ms_p50"][4 * i : 4 * i + 4]) / 1000 / tokens - 1) < 1e-6
assert "without a KV cache" in lines(run("bench", model, *arguments, "--batch", "3", "--no-kv-cache", "--no-store", "--json", code=1).stdout)[0]["failure"]
run("bench", model, "--batch", "0", code=2)

# What was stored is what was printed.
stored = lines(run("results", "--kind", "bench", "--format", "json", "--samples").stdout)
assert len(stored) == 3
for printed, again in zip(rows, stored):
    again.pop("run")
    assert printed == again, (printed, again)
assert len(lines(run("results", "--json", "--model", rows[0]["model_hash"][:8]).stdout)) == 1
assert len(lines(run("results", "--json", "--model", "ref-llama-11m", "--where", "format=bf16").stdout)) == 1
assert len(lines(run("results", "--json", "--where", "n_prompt=16", "--limit", "2").stdout)) == 2
assert len(lines(run("results", "--json", "--metric", "decode_tokens_per_s", "--since", "1h").stdout)) == 3
assert run("results", "--json", "--since", "2999-01-01").stdout == ""
table = list(csv.DictReader(io.StringIO(run("results", "--kind", "bench", "--format", "csv").stdout)))
rate = [r for r in table if r["metric"] == "decode_tokens_per_s" and r["format"] == "bf16"]
assert len(rate) == 1 and abs(float(rate[0]["value"]) / rows[0]["decode_tokens_per_s"] - 1) < 1e-8 and rate[0]["samples"] == "2"
assert "ref-llama-11m" in run("results").stdout

# An evaluation is stored too.
text = os.path.join(source, "models", "evaluation.txt")
quality = json.loads(run("eval", model, "--against", model, "--text", text, "--context", "64", "--windows", "2", "--json").stdout)
kept = lines(run("results", "--kind", "eval", "--json").stdout)
assert len(kept) == 1 and abs(kept[0]["perplexity"] / quality["perplexity"] - 1) < 1e-8
assert kept[0]["against"] == "ref-llama-11m" and kept[0]["protocol"] == "windows" and kept[0]["context"] == 64
assert kept[0]["perplexity_ci_low"] < kept[0]["perplexity"] and kept[0]["top1"] == 1

# Only one phase; no cache.
only = lines(run("bench", model, "-p", "0", "-n", "3", "-r", "1", "--kv-cache", "off", "--json").stdout)[0]
assert only["prefill_tokens_per_s"] is None and only["absent"]["prefill_tokens_per_s"] == "no prompt was asked for"
assert only["decode_tokens_per_s"] > 0 and only["bandwidth_share"] is None and only["kv_cache"] == "off"

# A store that cannot be written costs a message and the exit code, never the result.
broken = os.path.join(folder.name, "broken.db")
with open(broken, "w") as file:
    file.write("no database " * 500)
done = run("bench", model, *arguments, "--no-limits", "--store", broken, "--json", code=1)
assert lines(done.stdout)[0]["decode_tokens_per_s"] > 0
assert "not stored" in done.stderr and "broken.db" in done.stderr

# Kernels, and wrong usage.
kernels = lines(run("bench", "--kernels", "--format", "q8_0", "--rows", "64", "--columns", "256", "--json").stdout)
assert {r["tokens"] for r in kernels} == {1, 256} and all(r["microseconds"] > 0 for r in kernels)
for wrong in (["bench"], ["bench", model, "-p", "0", "-n", "0"], ["bench", model, "--kv-type", "nonsense"],
              ["bench", model, "--activations", "slow"], ["results", "--since", "yesterday"], ["results", "--format", "xml"],
              ["results", "--kind", "nonsense"], ["results", "--where", "x"],
              ["synth", "--shape", "distilgpt2"], ["hw", "extra"]):
    run(*wrong, code=2)
nowhere = os.path.join(folder.name, "none", "x.db")
run("results", "--store", nowhere, code=1)
assert not os.path.exists(os.path.dirname(nowhere))
run("synth", "--shape", "no-such-shape", "-o", synthetic, code=1)
