"""Drives a headless Chromium through its debugging pipe (file descriptors 3 and 4, JSON ended by NUL): no driver is needed.
Also a program: browser.py PAGE OUT.png WIDTH [dark] takes a picture of a whole page."""
import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time


def find():
    return next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")) if p), None)


class Browser:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        to_read, self.to = os.pipe()
        self.out, from_write = os.pipe()

        def place():  # what the browser reads is 3, what it writes is 4, whatever the numbers are here
            a, b = os.dup(to_read), os.dup(from_write)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.process = subprocess.Popen(
            [find(), "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars",
             "--disable-background-networking", "--disable-component-update", f"--user-data-dir={self.folder.name}", "about:blank"],
            preexec_fn=place, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(from_write)
        self.pending, self.number, self.events, self.session = b"", 0, [], None
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(domain + ".enable")

    def message(self, timeout=60):
        end = time.time() + timeout
        while b"\0" not in self.pending:
            if not select.select([self.out], [], [], max(0, end - time.time()))[0]:
                raise TimeoutError("the browser does not answer")
            more = os.read(self.out, 1 << 20)
            if not more:
                raise EOFError("the browser ended")
            self.pending += more
        text, self.pending = self.pending.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **parameters):
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        data = json.dumps(request).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data):]
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, url):
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self.message())

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def theme(self, name):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def picture(self, path, clip=None):
        parameters = {"clip": {**clip, "scale": 1}, "captureBeyondViewport": True} if clip else {"captureBeyondViewport": True}
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("Page.captureScreenshot", format="png", **parameters)["data"]))

    def print(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"]))

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.to)
        os.close(self.out)
        try:
            self.folder.cleanup()
        except OSError:
            pass


if __name__ == "__main__":
    browser = Browser()
    browser.size(int(sys.argv[3]), 900)
    browser.theme("dark" if "dark" in sys.argv else "light")
    browser.open("file://" + os.path.abspath(sys.argv[1]))
    height = browser.evaluate("document.documentElement.scrollHeight")
    step = int(os.environ.get("STEP", "2400"))
    for i in range(0, height, step):
        browser.picture(sys.argv[2].replace(".png", f"-{i // step}.png"),
                        {"x": 0, "y": i, "width": int(sys.argv[3]), "height": min(step, height - i)})
    if "print" in sys.argv:
        browser.print(sys.argv[2].replace(".png", ".pdf"))
    browser.close()
