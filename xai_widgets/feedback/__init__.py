"""What readers say about explanations, as records, and the store that keeps them."""

from __future__ import annotations

from xai_widgets.feedback.records import Feedback
from xai_widgets.feedback.store import ANY, FeedbackStore

__all__ = ["ANY", "Feedback", "FeedbackStore"]
