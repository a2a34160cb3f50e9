"""One video of several: side by side, with a line that wipes across, or as strips."""
import cv2
import numpy as np

from mmweather.inference import open_sink, open_source

from .comparison import in_step

__all__ = ['LAYOUTS', 'write_video']

#: How videos can share a frame.
LAYOUTS = ('side', 'wipe', 'strip')
# seconds in which the line crosses the frame once
_CROSSING = 4.0


def write_video(sources, output, layout='side', crf=18, labels=True, progress=None):
    """Write one video that shows several.

    Args:
        sources (dict[str, str or Path]): Videos, folders or images by the label that is drawn on them; two or three.
        output (str or Path): The video.
        layout (str): 'side' sets them beside each other; 'wipe' shows the first to the left and the second to the
            right of a line that wanders across, and leaves out a third; 'strip' gives each a vertical strip of the
            one frame. Defaults to 'side'.
        crf (int): Constant rate factor of the encoder. Defaults to 18.
        labels (bool): Draw the labels. Defaults to True.
        progress (Callable, optional): Called with the frames done and their number, None if unknown.

    Raises:
        UserError: If a file cannot be read or written, or if sizes or numbers of frames differ.
        ValueError: For another layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f'layout: expected one of {", ".join(LAYOUTS)}, got {layout!r}')
    if layout == 'wipe':
        sources = dict(list(sources.items())[:2])
    opened = {label: open_source(path) for label, path in sources.items()}
    lead = next(iter(opened.values()))
    fps = next((source.fps for source in opened.values() if source.fps), None)
    with open_sink(output, fps=fps, crf=crf) as sink:
        for index, frames in enumerate(in_step(opened)):
            pictures = [_labelled(frame, label) if labels and layout != 'strip' else frame
                        for label, frame in frames.items()]
            sink.write(_compose(pictures, layout, index / float(fps or 25), list(frames) if labels else None))
            if progress is not None:
                progress(index + 1, lead.frame_count)


def _compose(pictures, layout, time, labels):
    height, width = pictures[0].shape[:2]
    if layout == 'side':
        return np.concatenate(pictures, axis=1)
    if layout == 'wipe':
        # there and back again, at rest for a moment at both ends
        place = 0.5 - 0.5 * np.cos(np.pi * time / _CROSSING)
        column = int(round((0.1 + 0.8 * place) * width))
        frame = np.concatenate((pictures[0][:, :column], pictures[1][:, column:]), axis=1)
        frame[:, max(0, column - 1):column + 1] = 255
        return frame
    borders = np.linspace(0, width, len(pictures) + 1).round().astype(int)
    frame = np.concatenate([picture[:, left:right] for picture, left, right in zip(
        pictures, borders, borders[1:])], axis=1)
    for number, border in enumerate(borders[:-1]):
        if number:
            frame[:, border - 1:border + 1] = 255
        if labels:
            frame[:, border:borders[number + 1]] = _labelled(frame[:, border:borders[number + 1]], labels[number])
    return frame


def _labelled(frame, label):
    """The frame with its label in the lower left corner, dark under white so that it is read on anything."""
    frame = np.ascontiguousarray(frame)
    scale = max(0.35, frame.shape[0] / 900)
    place = (round(12 * scale) + 2, frame.shape[0] - round(14 * scale) - 2)
    for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(frame, label, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, max(1, round(width * scale * 1.5)),
                    cv2.LINE_AA)
    return frame
