from itertools import groupby
from typing import List

from mmaction.structures import ActionDataSample


def summarize(preds: List[ActionDataSample], classes: List[str],
              topk: int) -> List[dict]:
    """Turn predictions of clips into names and plain numbers, by file."""
    predictions = []
    for _, clips in groupby(preds, lambda pred: pred.number):
        timeline = []
        for clip in clips:
            scores, labels = clip.pred_score.topk(min(topk, len(classes)))
            times = {x: clip.get(x) for x in ('start', 'end') if x in clip}
            best = [
                dict(label=label, name=classes[label], score=score)
                for label, score in zip(labels.tolist(), scores.tolist())
            ]
            timeline.append(dict(**times, topk=best))
        content = dict(timeline=timeline) if times else timeline[0]
        predictions.append(dict(file=clip.filename, **content))
    return predictions
