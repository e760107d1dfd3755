"""pare report from the outside: every number of the page and the tables against the store; the figures, the slides; the page in a
headless Chromium where there is one. argv: the program, the source folder."""
import csv
import html.parser
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import browser
import study_fixture

program = sys.argv[1]
folder = tempfile.TemporaryDirectory()
store = os.path.join(folder.name, "results.db")
NAMES = ("comprehensive_dashboard_4metrics speed_comparison speedup_analysis memory_usage memory_reduction "
         "memory_analysis_and_scalability perplexity_comparison accuracy_vs_speed_tradeoff cpu_utilization "
         "hardware_efficiency_heatmap decision_tree deployment_decision_matrix multidimensional_radar model_size_vs_performance roofline "
         "pareto_front workload_comparison").split()


def run(*arguments, code=0):
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done


def report(name, *sizes, **options):
    if os.path.exists(store):
        os.unlink(store)
    study_fixture.write(program, store, *sizes, **options)
    out = os.path.join(folder.name, name)
    answer = json.loads(run("report", "course", "--store", store, "-o", out, "--json").stdout)
    assert os.path.samefile(answer["page"], os.path.join(out, "index.html"))
    return out


def read(*path):
    with open(os.path.join(*path), encoding="utf-8", newline="") as f:
        return f.read()


def close(a, b):
    return abs(a - b) <= 1e-12 * max(abs(a), abs(b))


class Page(html.parser.HTMLParser):
    """Tables with the metrics of their columns; whatever would be fetched."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.fetched, self.cell, self.ids = [], [], None, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        if "id" in a:
            self.ids.append(a["id"])
        for key in ("src", "href", "xlink:href", "data"):
            if a.get(key) and not (tag in ("a", "use") or a[key].startswith("data:")):
                self.fetched.append((tag, a[key]))
        if tag == "table":
            self.tables.append({"heads": [], "rows": [], "sortable": a.get("class") == "sortable"})
        elif tag == "th":
            self.tables[-1]["heads"].append(a.get("data-metric"))
        elif tag == "tr":
            self.tables[-1]["rows"].append([])
        elif tag == "td":
            self.cell = [a.get("data-value"), ""]
            self.tables[-1]["rows"][-1].append(self.cell)

    def handle_endtag(self, tag):
        if tag == "td":
            self.cell = None

    def handle_data(self, data):
        if self.cell:
            self.cell[1] += data


UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "%": 0.01, "x": 1, "": 1}


def check_text(text, value):
    """'23.1 ± 0.2 MB' is the value, rounded to the digits that are shown."""
    match = re.fullmatch(r"([+-]?[\d.]+)(?: ± ([\d.]+))? ?(B|[kMGT]B|%|x|)", text)
    assert match, text
    decimals = len(match[1].partition(".")[2])
    scale = UNITS[match[3]]
    assert abs(float(match[1]) * scale - value) <= 0.5000001 * 10 ** -decimals * scale, (text, value)


def stored_values():
    """(cell, metric) -> value, low, high from the store itself: the newest good record of each kind."""
    values, cells = {}, set()
    db = sqlite3.connect(store)
    for run_id, kind, cell in db.execute("SELECT r.id, r.kind, c.value FROM runs r JOIN conditions c ON c.configuration = r.configuration "
                                         "AND c.key = 'cell' WHERE r.kind IN ('bench','eval','quantize','generate') ORDER BY r.id"):
        if cell.count("/") == 3:
            cells.add(cell)
        for name, value, low, high in db.execute("SELECT name, value, ci_low, ci_high FROM metrics WHERE run = ?", (run_id,)):
            values[cell, kind, name] = (value, low, high)
    flat = {}
    for cell in cells:
        for kind in ("generate", "quantize", "eval", "bench"):  # the last one counts, as in pare_cell_metric
            for (of, k, name), v in values.items():
                if k == kind and (cell == of or cell.startswith(of + "/")):
                    flat[cell, name] = v
    return cells, flat


DERIVED = {"decode_speedup": "decode_tokens_per_s", "prefill_speedup": "prefill_tokens_per_s", "memory_reduction": "peak_rss_bytes",
           "weights_reduction": "weights_bytes"}


def expected(flat, cell, metric):
    if metric in DERIVED:
        base = "/".join([cell.split("/")[0], "f16", *cell.split("/")[2:]])
        a, b = flat.get((cell, DERIVED[metric])), flat.get((base, DERIVED[metric]))
        if not a or not b or a[0] is None or b[0] is None:
            return None
        return a[0] / b[0] if metric.endswith("speedup") else 1 - a[0] / b[0]
    if metric == "quality_loss":
        base = "/".join([cell.split("/")[0], "f16", *cell.split("/")[2:]])
        if (cell, "perplexity_ratio") not in flat:
            return None
        return 0.0 if cell == base else flat[cell, "perplexity_ratio"][0] / flat[base, "perplexity_ratio"][0] - 1
    found = flat.get((cell, metric))
    return found[0] if found else None


def check_numbers(out):
    cells, flat = stored_values()
    # JSON and CSV hold every metric of every cell at full precision.
    seen = {}
    for cell in json.loads(read(out, "results.json"))["cells"]:
        for name, m in cell["metrics"].items():
            seen[cell["id"], name] = m
            value = expected(flat, cell["id"], name)
            assert (m["value"] is None) == (value is None), (cell["id"], name, m)
            assert value is None and m["absent"] or close(m["value"], value), (cell["id"], name, m, value)
            if (cell["id"], name) in flat and value is not None:
                assert close(m["ci_low"], flat[cell["id"], name][1]) and close(m["ci_high"], flat[cell["id"], name][2])
    assert {k for k in seen if k in flat} == set(flat)
    rows = list(csv.DictReader(read(out, "results.csv").splitlines()))
    for row in rows:
        key = "/".join([row["model"], row["recipe"], row["backend"], row["workload"]]), row["metric"]
        if row["metric"] == "failure":
            continue
        m = seen.pop(key)
        assert row["value"] == "" and m["value"] is None or close(float(row["value"]), m["value"]), row
    assert not seen, list(seen)[:3]
    # What the page shows is what is stored, rounded.
    page = Page(read(out, "index.html"))
    assert not page.fetched, page.fetched
    assert len(page.ids) == len(set(page.ids))
    labels = {r: study_fixture.RECIPES[r][0] for r in study_fixture.RECIPES}
    table = next(t for t in page.tables if t["sortable"])
    texts = sum(h is None for h in table["heads"])
    by_label = {(c.split("/")[0], labels[c.split("/")[1]], c.split("/")[3]): c for c in cells}
    numbers = 0
    assert len([r for r in table["rows"] if r]) == len(cells)
    for row in table["rows"]:
        if not row:
            continue
        key = row[0][1].rstrip("*"), row[1][1], row[2][1] if texts == 3 else "chat"
        for metric, (value, text) in zip(table["heads"], row):
            if not metric:
                continue
            want = expected(flat, by_label[key], metric)
            assert (value == "") == (want is None) and (text == "-") == (want is None), (key, metric, value, text)
            if want is not None:
                numbers += 1
                assert close(float(value), want), (key, metric, value, want)
                check_text(text, want)
    # So do the sentences.
    sentences = re.findall(r"<li[^>]*>(\S+) decodes fastest as (.+?): ([\d.]+) ± [\d.]+ tokens/s, ([\d.]+) ± [\d.]+x the baseline",
                           read(out, "index.html"))
    assert sentences or len(cells) < 20
    for model, label, speed, factor in sentences:
        cell = by_label[model.rstrip("*"), label, "chat"]
        check_text(speed, expected(flat, cell, "decode_tokens_per_s"))
        check_text(factor + "x", expected(flat, cell, "decode_speedup"))
    return numbers


# ---- numbers in sentences ----

SPEEDS, SHARES, SIZES, RATIOS, REST = "tokens/s", "%", "B", "x", "other"
CONSTANTS = {"95 %", "1 %", "3 %", "5 %", "10 %", "50 %", "0 %", "1x", "0x", "2x"}  # of the tests and the wishes, not results
NUMBER = re.compile(r"(?<![\w.-])([+-]?\d+(?:\.\d+)?)(?: ± ([\d.]+))?( ?)(tokens/s|%|x\b|[kMGT]?B\b(?!/s)|op/byte|[kMGT]B/s|[GT](?:FL)?OP/s)")


def pools(cells, flat):
    """What a number of each unit may be: a stored value, one against the baseline, a ratio of two cells of one model, a saving."""
    found = {SPEEDS: [], SHARES: [], SIZES: [], RATIOS: [], REST: []}
    metrics = {name for _, name in flat} | set(DERIVED) | {"quality_loss"}
    for metric in metrics:
        values = {c: v for c in cells if (v := expected(flat, c, metric)) is not None}
        kind = (SPEEDS if metric.endswith("tokens_per_s") else SIZES if metric.endswith("bytes") else SHARES if metric in
                ("quality_loss", "top1") or metric.endswith(("_share", "_reduction", "utilization")) else REST)
        found[kind] += values.values()
        if metric.endswith("reduction"):  # "needs 37 % more"
            found[kind] += [-v for v in values.values()]
        if metric.endswith("speedup"):
            found[RATIOS] += values.values()
        for a, x in values.items():
            for b, y in values.items():
                if y > 0 and a != b and a.split("/")[0] == b.split("/")[0] and (kind in (SPEEDS, SIZES)):
                    found[RATIOS].append(x / y)
    return found


def check_sentences(sentences, cells, flat, more):
    """Every number with a unit is one of those, rounded to the digits that are shown. Returns how many there were."""
    known, count = pools(cells, flat), 0
    for kind, values in more.items():
        known[kind] += values
    for sentence in sentences:
        for number, _, space, unit in NUMBER.findall(sentence):
            if number.lstrip("+-") + space + unit in CONSTANTS:
                continue
            kind = unit if unit in known else SIZES if unit.endswith("B") else REST
            scale = {"%": 0.01}.get(unit, {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}.get(unit[0], 1))
            half = 0.5000001 * 10 ** -len(number.partition(".")[2]) * scale
            assert any(abs(float(number) * scale - v) <= half for v in known[kind]), (number + space + unit, sentence)
            count += 1
    return count


def check_all_sentences(out):
    cells, flat = stored_values()
    facts = json.loads(sqlite3.connect(store).execute("SELECT facts FROM machines").fetchone()[0])
    limits = [study_fixture.BANDWIDTH, study_fixture.INT8, study_fixture.BF16, study_fixture.FP32]
    caches = [2 * p[1] * p[4] * p[5] * 2 * p[7] for p in study_fixture.MODELS.values()]  # keys and values at the full context
    more = {REST: limits + [p / study_fixture.BANDWIDTH for p in limits[1:]], SIZES: caches + [facts["memory_bytes"]]}
    text = read(out, "index.html")
    page = [re.sub(r"<[^>]+>", "", li).replace("&amp;", "&") for li in re.findall(r"<li[^>]*>(.*?)</li>", text, re.S)]
    count = check_sentences(page, cells, flat, more)
    slides = 0
    if shutil.which("pdftotext"):
        shown = subprocess.run(["pdftotext", os.path.join(out, "slides.pdf"), "-"], capture_output=True, text=True, check=True).stdout
        for title in ("Findings", "Co-design principles", "Recommendations by scenario"):
            parts = [p for p in shown.split("\f") if p.startswith(title)]
            assert parts, title
            slides += check_sentences([" ".join(p.split()) for p in parts], cells, flat, more)
    # The check can fail.
    try:
        check_sentences(["It decodes at 123.456 tokens/s."], cells, flat, more)
    except AssertionError:
        return count, slides
    raise AssertionError("a number that nobody measured was accepted")


out = report("full")
numbers = check_numbers(out)
in_page, in_slides = check_all_sentences(out)
assert in_page > 60, in_page
print(f"{numbers} numbers of the table, {in_page} in the page's sentences and {in_slides} in the slides' are those of the store")
assert numbers > 500, numbers
for name in NAMES:
    for ending, magic in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        with open(os.path.join(out, "figures", f"{name}.{ending}"), "rb") as f:
            assert f.read(5).startswith(magic), name
text = read(out, "index.html")
for name in NAMES:
    assert f'<figure id="{name}">' in text, name
# What is absent is not drawn: it says why, and what to run.
assert not os.path.exists(os.path.join(out, "figures", "energy_per_token.png"))
assert 'class="missing" id="energy_per_token"' in text and "no /sys/class/powercap" in text
assert "ended by signal 9" in text and "random weights" in text
assert "gpu_utilization.png" not in text
assert not [f for f in os.listdir(out) if ".tmp" in f]
# A second time over the first; the same results give the same bytes.
before = {n: read(out, n) for n in ("index.html", "results.csv", "results.json")}
run("report", "course", "--store", store, "-o", out)
assert before == {n: read(out, n) for n in before}
if shutil.which("pdftotext"):
    slides = subprocess.run(["pdftotext", os.path.join(out, "slides.pdf"), "-"], capture_output=True, text=True, check=True).stdout
    for heading in ("Goal and questions", "Set-up: hardware and software", "Overall results", "Findings", "Co-design principles",
                    "Limitations", "Recommendations by scenario", "References"):
        assert heading in slides, heading

# One model, one recipe; a GPU with energy counters; a study that is not there; a folder that cannot be.
check_numbers(report("one", 1, 3))
check_numbers(report("smallest", 1, 2))
out_gpu = report("gpu", 2, 4, gpu=True)
for name in ("gpu_utilization", "energy_per_token"):
    assert os.path.exists(os.path.join(out_gpu, "figures", name + ".svg")), name
assert "nothing" in run("report", "nothing", "--store", store, code=1).stderr
assert "is no folder" in run("report", "course", "--store", store, "-o", store, code=1).stderr
run("report", code=2)

if not browser.find():
    print("no Chromium: the page was not opened")
    sys.exit(0)
b = browser.Browser()
b.size(1280, 900)
b.open("file://" + os.path.join(out, "index.html"))
COLUMN = """[...document.querySelector('table.sortable').tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[%d].dataset.value)"""
HEAD = "document.querySelector('table.sortable th[data-metric=%s]')"
for metric, falling in (("decode_tokens_per_s", True), ("peak_rss_bytes", False)):
    index = b.evaluate(HEAD % metric + ".cellIndex")
    for again in (False, True):
        b.evaluate(HEAD % metric + ".click()")
        column = b.evaluate(COLUMN % index)
        values = [float(v) for v in column if v]
        assert values == sorted(values, reverse=falling != again) and len(values) > 40, (metric, again)
        assert not any(column[len(values):]), "absent values are last"
b.evaluate("(() => { const i = document.querySelector('.tools input'); i.value = 'tinyllama gptq'; i.dispatchEvent(new Event('input')); })()")
rows = b.evaluate("[...document.querySelector('table.sortable').tBodies[0].rows].filter(r => !r.hidden).map(r => r.textContent)")
assert len(rows) == 2 and all("TinyLlama" in r and "GPTQ" in r for r in rows)
b.evaluate("(() => { const s = document.querySelectorAll('.tools select')[2]; s.value = 'chat'; s.dispatchEvent(new Event('change')); })()")
assert b.evaluate("document.querySelector('.tools .soft').textContent") == "1 of 48 rows"
colour = "getComputedStyle(document.body).backgroundColor"
light = b.evaluate(colour)
b.evaluate("document.querySelector('nav button').click()")
dark = b.evaluate(colour)
assert light == "rgb(255, 255, 255)" and dark != light
fill = "getComputedStyle(document.querySelector('figure svg rect')).fill"
assert b.evaluate(fill) == dark, "charts follow the theme"
b.evaluate("""(() => { const r = document.querySelector('.hots rect');
               r.dispatchEvent(new PointerEvent('pointermove', {clientX: 5, clientY: 5, bubbles: true})); })()""")
assert "distilgpt2" in b.evaluate("document.getElementById('tip').textContent")
assert b.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is not wider than the window"
asked = [e["params"]["request"]["url"] for e in b.events if e.get("method") == "Network.requestWillBeSent"]
assert all(u.startswith(("file:", "data:")) for u in asked), asked
bad = [e for e in b.events if e.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")]
assert not bad, bad
b.size(390, 800)
assert b.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nor on a phone"
b.close()
