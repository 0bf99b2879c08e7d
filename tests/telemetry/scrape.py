"""Reads metrics as Prometheus does, and looks up samples."""

import http.client
import subprocess

from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        families = [*text_string_to_metric_families(text)]
        #: Each family is told once.
        self.kinds = {(family.name, family.type) for family in families}
        assert len(self.kinds) == len(families)
        self.samples = [sample for family in families for sample in family.samples]
        self.names = {sample.name for sample in self.samples}

    def total(self, name: str, **labels: str) -> float:
        """Add up the samples of a name that have these labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def values(self, name: str, label: str) -> set[str]:
        """List the values that a label has in a name's samples."""
        return {sample.labels[label] for sample in self.samples if sample.name == name}


def scrape(port: int) -> Scrape:
    """Scrape a port of this machine."""
    return Scrape(fetch(port))


def fetch(port: int, path: str = "/metrics") -> str:
    """Get the text behind a port."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        link.request("GET", path)
        answer = link.getresponse()
        assert answer.status == 200, answer.status
        assert answer.getheader("content-type") == "text/plain; version=0.0.4; charset=utf-8"
        return answer.read().decode()
    finally:
        link.close()


def lint(promtool: str, text: str) -> str:
    """Have Prometheus's own tool check a text; gives what it finds."""
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr
