"""From a gesture to a stored record: adds who, which picture, which model, and how the map was made."""

from __future__ import annotations

import getpass
import hashlib
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_widgets.errors import ArgumentError, InputError
from xai_widgets.feedback.records import Feedback
from xai_widgets.feedback.store import FeedbackStore

if TYPE_CHECKING:
    from xai_widgets.explanation import Explanation
    from xai_widgets.session import Session
    from xai_widgets.targets import Target


class Judge:
    """Keeps the judgements of one session.

    Parameters
    ----------
    session : Session
    store : FeedbackStore, str, path or None
        None is ``xai_feedback.db`` in the working folder.
    annotator : str or None
        None is the login name.
    """

    def __init__(self, session: Session, store: Any = None, annotator: str | None = None) -> None:
        if annotator is not None and not isinstance(annotator, str):
            raise ArgumentError(f'annotator={annotator!r} must be a name, such as "anna".')
        self._session = session
        self._store = store if isinstance(store, FeedbackStore) else FeedbackStore(store or "xai_feedback.db")
        self.annotator = annotator if annotator is not None else _login()
        self._lock = threading.Lock()

    def beside(self, session: Session) -> Judge:
        """The same for another picture."""
        return Judge(session, self._store, self.annotator)

    @property
    def location(self) -> str:
        """Where the judgements are, for people."""
        return self._store.location

    def known(self, target: Target) -> tuple[Feedback, ...]:
        """Judgements of this picture, model and class, oldest first."""
        session = self._session
        single = target.key if isinstance(target.key, int) else None
        found = self._store.records(picture_id=session.picture.digest, model_id=session.model_id, target=single)
        # Pairs and functions have no index; they are known by their names.
        return tuple(record for record in found if single is not None or record.target_name == target.name)

    def record(
        self,
        target: Target,
        explanation: Explanation | None,
        verdict: str | None,
        *,
        regions: Iterable[int] | None = None,
        mask: np.ndarray | None = None,
        rating: int | None = None,
        label: str = "",
        comment: str = "",
    ) -> Feedback:
        """Make a record and store it; it is durable when this returns."""
        session = self._session
        scope, chosen, mask = self._scope(session, regions, mask)
        made: dict[str, Any] = {}
        params: dict[str, Any] = {}
        if explanation is not None:
            params = {name: value for name, value in explanation.params.items() if name != "input"}
            made = {
                "seed": explanation.seed,
                "baseline": explanation.baseline,
                "space": explanation.space,
                "n_forward": explanation.n_forward,
                "segments": hashlib.sha256(np.ascontiguousarray(explanation.segments)).hexdigest(),
                "values": hashlib.sha256(np.ascontiguousarray(explanation.values)).hexdigest(),
                "versions": dict(explanation.versions),
            }
        record = Feedback(
            annotator=self.annotator,
            verdict=verdict,
            scope=scope,
            regions=chosen,
            mask=mask,
            rating=rating,
            label=label,
            comment=comment,
            picture_id=session.picture.digest,
            model_id=session.model_id,
            model_name=session.classifier.name,
            target=target.index if target.rather_than is None else None,
            target_name=target.name,
            method=explanation.method if explanation is not None else "",
            params=params,
            explanation=made,
            to_source=session.view.to_source,
            source_size=session.picture.size,
        )
        with self._lock:
            return self._store.add(record)

    @staticmethod
    def _scope(
        session: Session, regions: Iterable[int] | None, mask: Any
    ) -> tuple[str, tuple[int, ...], np.ndarray | None]:
        if regions is not None and mask is not None:
            raise ArgumentError("Judge regions or a mask, not both at once.")
        if mask is not None:
            mask = np.asarray(mask)
            if mask.dtype != bool or mask.shape != session.view.shape:
                raise InputError(
                    f"mask has {mask.dtype}, shape {mask.shape}; bool of shape {session.view.shape} is needed, the "
                    "grid of w.explanation.image"
                )
            return "mask", (), mask
        chosen = tuple(regions or ())
        for region in chosen:
            if isinstance(region, bool) or not hasattr(region, "__index__") or not 0 <= region < session.n_segments:
                raise InputError(f"There is no region {region!r}; there are 0 to {session.n_segments - 1}.")
        if not chosen:
            return "map", (), None
        return "regions", chosen, np.isin(session.regions.labels, chosen)


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user, as in some containers
        return ""
