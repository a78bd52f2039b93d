"""Positions in a video where decoding can start."""
from typing import Dict, Iterator, List, Sequence, Set

import av

# Types of NAL units: of pictures that need no earlier picture (IDR), and of
# parameter sets.
_IDR = dict(h264=(5, ), hevc=(19, 20))
_PARAMETERS = dict(h264=(7, 8, 13, 15), hevc=(32, 33, 34))


def _unit_types(content: memoryview, codec: str, prefix: int) -> Iterator[int]:
    """Read the types of a packet's NAL units, up to the first damaged one."""
    start = 0
    while start + prefix < len(content):
        size = int.from_bytes(content[start:start + prefix], 'big')
        header = content[start + prefix]
        yield header & 31 if codec == 'h264' else header >> 1 & 63
        start += prefix + size


def _length_size(decoder: av.VideoCodecContext) -> int:
    """Bytes of a NAL unit's length field; 0 if start codes are used."""
    extradata = decoder.extradata or b''
    place = dict(h264=4, hevc=21)[decoder.name]
    if len(extradata) <= place or extradata[0] != 1:
        return 0
    return (extradata[place] & 3) + 1


def find_access_points(packets: Sequence[av.Packet],
                       decoder: av.VideoCodecContext) -> Dict[int, bool]:
    """Find packets where decoding of H.264 or HEVC can start.

    The container is MP4, MOV, MKV or FLV. All frames before such a packet are
    decoded and shown before it, and no frame after it refers to them. Key
    frames of open GOPs or of a gradual refresh do not qualify.

    Args:
        packets (Sequence[Packet]): All packets, in the order of decoding,
            each with its time.
        decoder (VideoCodecContext): The decoder of these packets.

    Returns:
        dict[int, bool]: Indices of the packets found, and whether each of
        them contains parameter sets, which later packets may need.
    """
    points = {0: True}
    length_size = _length_size(decoder)
    if not length_size or sum(x.is_keyframe for x in packets) < 2:
        return points
    idr, parameters = _IDR[decoder.name], _PARAMETERS[decoder.name]
    earliest = [packet.pts for packet in packets]
    for place in range(len(packets) - 2, -1, -1):
        earliest[place] = min(earliest[place], earliest[place + 1])
    latest = packets[0].pts
    for place, packet in enumerate(packets):
        types = set(_unit_types(memoryview(packet), decoder.name, length_size))
        brings = not types.isdisjoint(parameters)
        brings |= packet.has_sidedata('new_extradata')
        closed = place and not types.isdisjoint(idr)
        if closed and latest < earliest[place] == packet.pts:
            points[place] = brings
        elif place and brings:
            return {0: True}  # This packet cannot be left out.
        latest = max(latest, packet.pts)
    return points


def drop_unneeded(packets: Sequence[av.Packet], points: Dict[int, bool],
                  stamps: Set[int]) -> List[av.Packet]:
    """Leave out groups of pictures that contain no wanted frame.

    Args:
        packets (Sequence[Packet]): All packets, in the order of decoding.
        points (dict[int, bool]): From :func:`find_access_points`.
        stamps (set[int]): Times of the wanted frames.
    """
    kept = []
    places = sorted(points)
    for start, end in zip(places, [*places[1:], len(packets)]):
        group = packets[start:end]
        if any(packet.pts in stamps for packet in group):
            kept += group
        elif points[start]:
            kept.append(group[0])
    return kept
