"""Distance to prototypes: how unlike anything typical an example looks to a network."""

from __future__ import annotations

import warnings

import numpy as np

from ticketdiet.core.errors import DataError
from ticketdiet.core.seeds import derive_seed
from ticketdiet.scores.base import SCORES, Score, Subject
from ticketdiet.scores.forward import run_forward
from ticketdiet.scores.modes import SCORE_BATCH_NORMS

_SKLEARN_SEED_BITS = 32


@SCORES.register("prototype")
class Prototype(Score):
    """Euclidean distance to the nearest k-means centre of the features before the last linear layer.

    Sorscher et al. 2022, arXiv 2206.14486, section 5, there on self-supervised features. High (far from every
    prototype) means hard as it is. Labels play no part.
    """

    batch_norms = SCORE_BATCH_NORMS

    def score(self, subject: Subject) -> np.ndarray:
        """Return float32 (n,). The number of prototypes is ``options.clusters``, by default that of classes.

        Args:
            subject: What is scored.

        Returns:
            Distances in the units of the features.

        Raises:
            DataError: When there are more prototypes than images, or the network has no last linear layer.
        """
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        images, options = subject.images, subject.options
        clusters = images.num_classes if options.clusters is None else options.clusters
        if not 1 <= clusters <= len(images):
            raise DataError(
                f"There cannot be {clusters} prototypes of {len(images)} images.",
                expected=f"from 1 to {len(images)}",
                way_out="change clusters=",
            )
        features = run_forward(subject.trained(), images, options, with_features=True).features.numpy()
        seed = derive_seed(subject.seed, "prototype") % (1 << _SKLEARN_SEED_BITS)
        with warnings.catch_warnings():
            # Examples with equal features have a prototype in common; that is no fault.
            warnings.simplefilter("ignore", ConvergenceWarning)
            means = KMeans(clusters, n_init=1, random_state=seed).fit(features)
        return np.asarray(means.transform(features).min(axis=1), dtype=np.float32)
