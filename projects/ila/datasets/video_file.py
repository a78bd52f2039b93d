"""Fetch, check and open the content of video files."""
import io
import os
import os.path as osp
import stat
from typing import List, Tuple

import av
from mmengine.fileio import FileClient, LocalBackend

from .search import add_ending

# FFmpeg's names of containers that hold everything in one file. Left out are
# playlists and session descriptions, which make FFmpeg open other files or
# URLs, and formats of devices and of text.
FORMATS = ('apng,asf,av1,avi,bmp_pipe,dhav,dv,flv,gif,h261,h263,h264,hevc,'
           'ivf,jpeg_pipe,m4v,matroska,mjpeg,mov,mp3,mpeg,mpegts,mpegvideo,'
           'mxf,nut,obu,ogg,png_pipe,rm,tiff_pipe,vc1,vvc,wav,webp_pipe,wtv,'
           'yuv4mpegpipe')
# Marks by which FFmpeg, in any version, recognises a list of other files.
_PLAYLISTS = {
    b'#extm3u': 'an HLS playlist',
    b'ffconcat': 'an ffconcat list',
    b'c=in ip': 'an SDP session description',
    b'<mpd': 'a DASH manifest',
}
# A single larger frame would need hundreds of megabytes.
MAX_PIXELS = 2**26
_MP4_BOXES = (b'ftyp', b'styp', b'moov', b'moof', b'mdat', b'free', b'skip',
              b'wide', b'pnot', b'uuid', b'meta', b'sidx', b'ssix', b'mfra',
              b'emsg', b'prft', b'pdin', b'udta')


class TruncatedVideoError(ValueError):
    """A file is shorter than its own headers say."""


class ShortVideoError(ValueError):
    """A video has too few frames."""


def read_file(client: FileClient, filename: str) -> bytes:
    """Read a video file from any storage.

    Without an extension, ``.mp4`` is added unless there is such a file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is a folder, a pipe or a device.
    """
    is_local = isinstance(client.client, LocalBackend)
    if not (is_local and osp.lexists(filename)):
        filename = add_ending(filename)
    if is_local:
        check_regular(filename)
    content = client.get(filename)
    if content is None:  # From LMDB.
        raise FileNotFoundError('there is no such file in the storage')
    return bytes(content)


def check_regular(path: str) -> None:
    """Refuse a path that is not a regular file, without opening it.

    Raises:
        FileNotFoundError: There is no such file, or it is a broken link.
        ValueError: It is a folder, a pipe or a device.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        reason = 'there is no such file'
        if osp.islink(path):
            reason = f"it is a link to '{os.readlink(path)}', which is missing"
        raise FileNotFoundError(reason) from None
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: 'folder', stat.S_IFIFO: 'pipe'}
        kind = kinds.get(stat.S_IFMT(mode), 'device or socket')
        raise ValueError(f'it is a {kind}, not a file')


def check_content(content: bytes) -> None:
    """Refuse files that are playlists or truncated.

    Raises:
        TruncatedVideoError: It is shorter than its own headers say.
        ValueError: It is empty or a playlist.
    """
    if not content:
        raise ValueError('the file is empty; replace it')
    # FFmpeg looks for text up to the first zero byte.
    text = content[:2**20].split(b'\0', 1)[0].lower()
    for mark, kind in _PLAYLISTS.items():
        if mark in text:
            raise ValueError(f'the file is {kind}, which names other files; '
                             'give the video itself')
    size = declared_size(content)
    if len(content) < size:
        raise TruncatedVideoError(
            f'the file is truncated, it has {len(content)} of {size} bytes '
            'or more; replace it')


def open_container(content: bytes) -> av.container.InputContainer:
    """Open a video from its content only, without files that it refers to.

    Raises:
        ValueError: The file is truncated, or not a supported container.
    """
    check_content(content)
    try:
        return av.open(
            io.BytesIO(content),
            metadata_errors='replace',
            options=dict(
                format_whitelist=FORMATS,
                protocol_whitelist='',
                max_pixels=str(MAX_PIXELS)))
    except (av.FFmpegError, MemoryError) as error:
        raise ValueError('the content is not that of a video file, or its '
                         f'headers are damaged ({explain(error)}); give a '
                         'whole file such as MP4, WebM or AVI') from error


def explain(error: Exception) -> str:
    """Describe an error of FFmpeg."""
    return getattr(error, 'strerror', None) or str(error)


def demux(
    container: av.container.InputContainer
) -> Tuple[av.VideoStream, List[av.Packet]]:
    """Read the compressed frames of the largest video stream.

    Cover pictures do not count. Packets are in the order of decoding.

    Raises:
        ValueError: There is no video stream that can be decoded, or its data
            are damaged.
    """
    cover = av.stream.Disposition.attached_pic
    found = [
        stream for stream in container.streams.video
        if not stream.disposition & cover
    ]
    streams = [x for x in found if x.codec_context and x.codec_context.width]
    if not streams:
        if found:
            raise ValueError(
                'FFmpeg cannot decode this kind of video '
                f'({container.format.long_name}), or its frames have more '
                f'than {MAX_PIXELS} pixels; convert it to H.264')
        raise ValueError('the file holds no video stream')
    packets = {stream.index: [] for stream in streams}
    try:
        for packet in container.demux(*streams):
            if packet.size:
                packets[packet.stream_index].append(packet)
    except IndexError:
        # After the last packet, PyAV fails if streams were added after the
        # start.
        pass
    except av.FFmpegError as error:
        raise ValueError(f'the file is damaged ({explain(error)}); replace '
                         'it') from error
    # A track with content is preferred.
    stream = max(
        streams,
        key=lambda x: (bool(packets[x.index]), x.codec_context.width * x.
                       codec_context.height))
    return stream, packets[stream.index]


def declared_size(content: bytes) -> int:
    """Compute from a video's structure how many bytes the file must have.

    The result is 0 if the file does not describe its size. A file may be
    larger than described.
    """
    if content[4:8] in _MP4_BOXES:
        return _mp4_size(content)
    if content[:4] == b'RIFF':  # AVI
        size = int.from_bytes(content[4:8], 'little')
        return 8 + size if size < 2**32 - 1 else 0
    if content[:4] == b'\x1a\x45\xdf\xa3':
        return _matroska_size(content)
    if content[:3] == b'FLV':
        return _flv_size(content)
    if content[:4] == b'OggS':
        return _ogg_size(content)
    if content[:3] == b'GIF':
        return _gif_size(content)
    # MPEG-TS, packets that begin with a fixed byte.
    if content[:1] == b'G' and content[188:189] == b'G':
        return -(-len(content) // 188) * 188
    return 0


def _mp4_size(content: bytes) -> int:
    """Size of MP4 and MOV files, a list of boxes."""
    end = 0
    while content[end + 4:end + 8] in _MP4_BOXES:
        size = int.from_bytes(content[end:end + 4], 'big')
        if size == 1:
            size = int.from_bytes(content[end + 8:end + 16], 'big')
        if size < 8:  # A last box may reach to the end.
            break
        end += size
    return end


def _matroska_size(content: bytes) -> int:
    """Size of WebM and Matroska files, from the size of the segment."""
    start = content.find(b'\x18\x53\x80\x67', 0, 4096) + 4
    if not 4 <= start < len(content) or not content[start]:
        return 0
    # The first byte's leading zeros give the number's length in bytes. A
    # number of ones only means unknown, as in a live stream.
    length = 9 - content[start].bit_length()
    unknown = (1 << 7 * length) - 1
    number = int.from_bytes(content[start:start + length], 'big') & unknown
    return 0 if number == unknown else start + length + number


def _flv_size(content: bytes) -> int:
    """Size of FLV files, a list of tags."""
    end = int.from_bytes(content[5:9], 'big') + 4
    while end + 11 <= len(content) and content[end] & 31 in (8, 9, 18):
        end += 11 + int.from_bytes(content[end + 1:end + 4], 'big') + 4
    return end - 4  # The last tag's length may be missing.


def _ogg_size(content: bytes) -> int:
    """Size of Ogg files, a list of pages."""
    end = 0
    while content[end:end + 4] == b'OggS':
        if end + 27 > len(content):
            return end + 27
        lengths = content[end + 27:end + 27 + content[end + 26]]
        end += 27 + content[end + 26] + sum(lengths)
    return end


def _gif_size(content: bytes) -> int:
    """Size of GIF files, a list of blocks up to an end marker."""

    def colors(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 128 else 0

    end = 13 + colors(content[10]) if len(content) > 10 else 13
    while end < len(content):
        kind = content[end]
        if kind == 0x3B:
            return end + 1
        if kind == 0x2C and end + 9 < len(content):
            end += 11 + colors(content[end + 9])
        elif kind == 0x21:
            end += 2
        else:
            break
        while end < len(content) and content[end]:  # Parts of the block.
            end += 1 + content[end]
        end += 1
    return max(end, len(content)) + 1
