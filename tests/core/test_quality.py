"""Qualities of a photo's fit: what each does more or less than the usual one."""

from __future__ import annotations

import pytest

from pantomime.core.fitting.quality import clip_settings, settings_of
from pantomime.core.fitting.settings import FitSettings
from pantomime.core.pipeline import Pipeline, PipelineError, PipelineSettings


def test_the_normal_quality_is_the_usual_fit() -> None:
    assert settings_of("normal") == FitSettings()


def test_the_fast_one_has_neither_outline_nor_collisions() -> None:
    fast = settings_of("fast")
    assert not any(stage.silhouette or stage.collision for stage in fast.stages)
    assert {stage.name for stage in fast.stages} == {
        stage.name for stage in FitSettings().stages if not stage.collision
    }


def test_photos_ask_the_learned_prior_and_clips_the_gaussian_one() -> None:
    assert settings_of("normal").learned_prior
    assert not settings_of("fast").learned_prior
    assert not clip_settings().learned_prior


def test_another_name_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="Choose one of fast, normal"):
        settings_of("perfect")
    with pytest.raises(PipelineError, match="Choose one of fast, normal"):
        Pipeline().fit_photo("a.jpg", PipelineSettings(quality="perfect"))
