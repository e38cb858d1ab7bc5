"""What captions of a report say of the model."""

from luxscale.report.figures import explain_pixels


def test_shared_noise_is_said(curved_model, small_model):
    assert "Pixels of flux share noise" in explain_pixels(curved_model)
    assert explain_pixels(small_model) == explain_pixels(None) == ""
