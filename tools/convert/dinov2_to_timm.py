"""Convert DINOv2's weights from ONNX or Hugging Face for timm."""
import argparse

from common import check_file, check_outputs, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'model',
        help='timm\'s name of the model, such as vit_small_patch14_dinov2')
    parser.add_argument('source', help='file to convert')
    parser.add_argument('target', help='file to write')
    parser.add_argument(
        '--img-size',
        type=int,
        metavar='PIXELS',
        help='interpolate the position embeddings to images of this size, as '
        "in Hugging Face's model; default: keep them")
    args = parser.parse_args()
    check_file(args.source, 'Source')
    check_outputs(args.target)

    from projects.ila.apis import dinov2_to_timm
    write(args.target, dinov2_to_timm, args.model, args.source, args.img_size)


if __name__ == '__main__':
    main()
