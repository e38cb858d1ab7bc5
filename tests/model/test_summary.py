"""A model shows itself in notebooks, shortly, and with nothing that a browser would run."""

import dataclasses
import json
from html.parser import HTMLParser

from luxscale.model.summary import describe_range


class Cells(HTMLParser):
    """Collects the cells of tables, and the tags."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.tags = [], set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert not attrs
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        if self.rows and data.strip():
            self.rows[-1].append(data)


def test_html_has_outputs_labels_and_the_held_out_table(small_model):
    html = small_model._repr_html_()
    found = Cells(html)
    head, label, flux, *_ = found.rows
    assert head == ["output", "role", "number", "of", "map", "noise"]
    assert label[:4] == ["label_value", "labels", "4", describe_range(small_model["label_value"])]
    assert "teff [K], logg [dex(cm s-2)]" in label[3]
    assert flux[:4] == ["flux", "spectrum", "40", "15100 to 15178 Angstrom"]
    assert flux[5] == "independent"
    assert [row[0] for row in found.rows[-4:]] == ["teff", "logg", "fe_h", "mg_fe"]
    assert f"{small_model.held_out[0]['rmse']:.3g}" in found.rows[-4]
    assert "prior: Gaussian, mean 0, variance 1" in html
    assert len(html) < 3000


def test_html_escapes_and_runs_nothing(small_model):
    label, flux = small_model.outputs
    named = dataclasses.replace(label, coord=("<script>alert(1)</script>", *label.coord[1:]))
    made = dataclasses.replace(small_model.provenance, method="<b>", held_out=json.dumps([]))
    html = dataclasses.replace(small_model, outputs=(named, flux), provenance=made)._repr_html_()
    assert "<script" not in html
    assert "method &lt;b&gt;" in html
    assert Cells(html).tags <= {"div", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    assert "left out of training" not in html


def test_html_of_a_curved_model_says_so(curved_model):
    html = curved_model._repr_html_()
    assert "mixture of" in html
    assert "correlated" in html
