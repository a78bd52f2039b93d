from typing import Iterator, List, Sequence, Union

import numpy as np

from mmaction.structures import ActionDataSample
from .video_inferencer import VideoInferencer
from .video_inputs import InputsType


class VideoEmbedder(VideoInferencer):
    """Embed videos and texts with an ``ILARecognizer``."""

    def iterate_embeddings(self,
                           inputs: InputsType,
                           batch_size: int = 1) -> Iterator[dict]:
        """Embed videos one after the other, see :meth:`embed`.

        Yields:
            dict: ``file`` and ``embedding``, float32 ``(E, )``, or ``file``
            and ``error``.
        """
        videos = self.list_videos(inputs)
        for result in self.run(videos, self._embed, 'embedding', batch_size):
            del result['number']
            for clip in result.pop('clips', []):
                result['embedding'] = clip.embedding.numpy()
            yield result

    def _embed(self, batch: dict) -> List[ActionDataSample]:
        videos = self.model.data_preprocessor(batch, False)['inputs']
        embeddings = self.model.encode_video(videos).float().cpu()
        for sample, embedding in zip(batch['data_samples'], embeddings):
            sample.embedding = embedding
        return batch['data_samples']

    def embed(self, inputs: InputsType, batch_size: int = 1) -> dict:
        """Embed videos, for retrieval or for another classifier.

        Args:
            inputs (InputsType): See :func:`list_inputs`.
            batch_size (int): Number of videos, each with all its views, in a
                batch.

        Returns:
            dict: ``files``, a list of ``N`` names; ``embeddings``, float32
            ``(N, E)`` of length 1, see
            :meth:`ILARecognizer.encode_video`; ``errors``, a list of dicts
            ``file`` and ``error``.

        Raises:
            FileNotFoundError: There are no videos at all.
            ValueError: ``batch_size`` is out of its range.
        """
        results = list(self.iterate_embeddings(inputs, batch_size))
        found = [result for result in results if 'error' not in result]
        size = self.model.cls_head.in_channels
        return dict(
            files=[result['file'] for result in found],
            embeddings=np.array([result['embedding'] for result in found],
                                np.float32).reshape(-1, size),
            errors=[result for result in results if 'error' in result])

    def embed_text(self, names: Union[str, Sequence[str]]) -> np.ndarray:
        """Embed texts in the head's templates, for comparison with videos.

        Args:
            names (str | Sequence[str]): One or ``K`` names of actions.

        Returns:
            np.ndarray: float32 ``(K, E)`` of length 1.

        Raises:
            ValueError: The model has no text tower, or a text is too long.
        """
        names = [names] if isinstance(names, str) else list(names)
        return self.model.encode_text(names).float().cpu().numpy()
