"""The tables of a corpus: one explicit Arrow schema each, every column documented.

Writers build their tables with these schemas and readers rely on them; no schema is inferred. The documentation of a
column is stored in the Parquet file (``field.metadata[b"doc"]``) and shown by ``DESCRIBE``.
"""

from typing import Any

import pyarrow as pa


def _column(name: str, type_: pa.DataType, doc: str, *, nullable: bool = True) -> "pa.Field[Any]":
    return pa.field(name, type_, nullable=nullable, metadata={"doc": doc})


def _key(name: str, doc: str) -> "pa.Field[Any]":
    return _column(name, pa.string(), doc, nullable=False)


TIMESTAMP = pa.timestamp("us", tz="UTC")

UNIT_ID = _key("unit_id", "unit of work that wrote the row; together with the file it decides whether the row counts")
VIDEO_ID = _key("video_id", "<extractor>:<id>, as in yt-dlp; generic pages add a digest of the URL")
CROP_ID = _key("crop_id", "first 16 hex digits of SHA-1 of the detection_id")

KEY_FRAME = pa.struct([pa.field("frame_index", pa.int64()), pa.field("pts", pa.int64())])

LISTINGS = pa.schema(
    [
        UNIT_ID,
        _column("position", pa.int32(), "rank of the entry in its listing, from 0", nullable=False),
        _column("url", pa.string(), "URL of the video's page", nullable=False),
        VIDEO_ID,
        _column("title", pa.string(), "title as listed"),
        _column("query", pa.string(), "search query or playlist URL that listed it", nullable=False),
    ]
)

VIDEOS = pa.schema(
    [
        VIDEO_ID,
        UNIT_ID,
        _column("extractor", pa.string(), "yt-dlp's extractor, lower case"),
        _column("source_url", pa.string(), "URL of the video's page"),
        _column("query", pa.string(), "search query or playlist that listed it; null when given as a URL"),
        _column("title", pa.string(), "title"),
        _column("uploader", pa.string(), "channel or uploader"),
        _column("upload_date", pa.date32(), "day of upload"),
        _column("license", pa.string(), "licence stated by the site; null when it states none"),
        _column("media_path", pa.string(), "path of the media file, relative to the corpus"),
        _column("media_bytes", pa.int64(), "size of the media file"),
        _column("media_sha256", pa.string(), "digest of the media file"),
        _column("container", pa.string(), "container format, FFmpeg's name"),
        _column("codec", pa.string(), "video codec, FFmpeg's name"),
        _column("width", pa.int32(), "pixels, as displayed (rotation applied)"),
        _column("height", pa.int32(), "pixels, as displayed (rotation applied)"),
        _column("rotation", pa.int32(), "clockwise rotation in the container, degrees: 0, 90, 180 or 270"),
        _column("fps", pa.float64(), "mean frames per second"),
        _column("duration_s", pa.float64(), "seconds from the first frame to the end of the last"),
        _column("frames", pa.int64(), "video packets in the file, one per frame"),
        _column("time_base_num", pa.int64(), "numerator of the stream's time base (seconds per tick)"),
        _column("time_base_den", pa.int64(), "denominator of the stream's time base"),
        _column("key_frames", pa.list_(KEY_FRAME), "seek points: rank in presentation order, and pts in ticks"),
        _column("crawled_at", TIMESTAMP, "end of the download"),
    ]
)

_BOX = [
    _column("x1", pa.float32(), "left edge of the box, pixels of the frame"),
    _column("y1", pa.float32(), "top edge"),
    _column("x2", pa.float32(), "right edge"),
    _column("y2", pa.float32(), "bottom edge"),
    _column("frame_width", pa.int32(), "width of the frame that the box refers to"),
    _column("frame_height", pa.int32(), "height of the frame that the box refers to"),
    _column("confidence", pa.float32(), "detector's score, 0 to 1"),
]

_FRAME = [
    _column("frame_index", pa.int64(), "number of the frame from 0, in presentation order", nullable=False),
    _column("pts_s", pa.float64(), "presentation time of the stream, seconds", nullable=False),
]

DETECTIONS = pa.schema(
    [
        _key("detection_id", "<video_id>/<frame_index>/<n>, n by falling confidence"),
        VIDEO_ID,
        UNIT_ID,
        *_FRAME,
        *_BOX,
        _column("kept", pa.bool_(), "whether every rule passed and a crop was cut", nullable=False),
        _column("drop_reason", pa.string(), "first rule that it failed; null when kept"),
        _column("drop_reasons", pa.list_(pa.string()), "all rules that it failed; empty when kept"),
        _column("reference_width", pa.int32(), "imported boxes: width of the frame that their coordinates refer to"),
        _column("reference_height", pa.int32(), "imported boxes: its height"),
        _column(
            "reference",
            pa.string(),
            "imported boxes: how that size was determined: given, border, expected or ambiguous",
        ),
    ]
)

IMPORTED = pa.schema(
    [
        _key("detection_id", "detection that the box becomes: <video_id>/<frame_index>/<n>, n by falling confidence"),
        VIDEO_ID,
        UNIT_ID,
        _column("frame_index", pa.int64(), "number of the frame from 0, in presentation order", nullable=False),
        _column("frame_id", pa.int64(), "published number of the frame", nullable=False),
        _column("n", pa.int32(), "published number of the person in the frame", nullable=False),
        _column("x1", pa.float32(), "left edge of the box, pixels of the frame that it refers to"),
        _column("y1", pa.float32(), "top edge"),
        _column("x2", pa.float32(), "right edge"),
        _column("y2", pa.float32(), "bottom edge"),
        _column("confidence", pa.float32(), "published score of the detector; null when not published"),
        _column("person", pa.int64(), "published tracklet (pid of LUPerson-NL); null when not published"),
        _column(
            "keypoints", pa.list_(pa.float32()), "x, y and score of the 17 COCO keypoints; null when not published"
        ),
    ]
)

OBJECT = pa.struct(
    [
        pa.field("label", pa.string()),
        pa.field("confidence", pa.float32()),
        # Pixels of the frame, like the person's box.
        pa.field("x1", pa.float32()),
        pa.field("y1", pa.float32()),
        pa.field("x2", pa.float32()),
        pa.field("y2", pa.float32()),
        # Share of the object's box inside the person's.
        pa.field("overlap", pa.float32()),
    ]
)

CROPS = pa.schema(
    [
        CROP_ID,
        _key("detection_id", "detection that the crop was cut from"),
        VIDEO_ID,
        UNIT_ID,
        *_FRAME,
        *_BOX,
        _column("width", pa.int32(), "width of the crop, pixels", nullable=False),
        _column("height", pa.int32(), "height of the crop, pixels", nullable=False),
        _column("sharpness", pa.float32(), "variance of the Laplacian of the crop at 128x64, grey levels squared"),
        _column("brightness", pa.float32(), "mean luma, 0 to 255"),
        _column("contrast", pa.float32(), "standard deviation of luma at 128x64, 0 to 127.5"),
        _column("colourfulness", pa.float32(), "Hasler & Suesstrunk (2003), at 128x64: 0 grey, 33 moderate, 109 high"),
        _column("truncation", pa.int32(), "sides of the box that lie on the frame's border, 0 to 4"),
        _column("overlap", pa.float32(), "greatest share of the box that another box of the frame covers, 0 to 1"),
        _column(
            "head_blurred_by",
            pa.string(),
            "source of the blurred region: keypoints or proportion; null when not blurred",
        ),
        _column(
            "keypoints",
            pa.list_(pa.float32()),
            "17 COCO keypoints, each x and y in pixels of the crop and confidence; null without pose",
        ),
        _column("objects", pa.list_(OBJECT), "objects near the person; null where the detector finds only persons"),
        _column("phash", pa.uint64(), "64-bit perceptual hash; similar crops differ in few bits"),
        _column("jpeg", pa.binary(), "the crop, JPEG-encoded", nullable=False),
    ]
)


TRACKS = pa.schema(
    [
        _key("detection_id", "detection that belongs to the tracklet"),
        VIDEO_ID,
        UNIT_ID,
        _column("frame_index", pa.int64(), "frame of the detection", nullable=False),
        _column("track_id", pa.string(), "tracklet: <video_id>/t<n>, n by first appearance", nullable=False),
        _column(
            "track_frames",
            pa.int64(),
            "length of the whole tracklet in frames: its detections times the sampling step",
            nullable=False,
        ),
    ]
)

DUPLICATES = pa.schema(
    [
        CROP_ID,
        VIDEO_ID,
        UNIT_ID,
        _column("duplicate_of", pa.string(), "crop_id of the crop that represents this one", nullable=False),
        _column("how", pa.string(), "phash or cosine inside a video, across between videos", nullable=False),
        _column(
            "similarity",
            pa.float32(),
            "similarity to the compared crop: cosine of the features, or share of equal bits for phash",
            nullable=False,
        ),
    ]
)

STATICS = pa.schema(
    [
        CROP_ID,
        VIDEO_ID,
        UNIT_ID,
        _column("static_id", pa.string(), "<video_id>/s<n>: crops of one poster or mannequin", nullable=False),
        _column("span_s", pa.float64(), "seconds from its first to its last crop", nullable=False),
        _column(
            "seen_share", pa.float32(), "share of the video's frames with crops in which it appears", nullable=False
        ),
    ]
)


def embeddings(dim: int = -1) -> pa.Schema:
    """Schema of ``embeddings/<model>``: one row per crop and region, ``dim`` float16 numbers of unit L2 norm.

    Models differ in ``dim``; -1 stands for any.
    """
    return pa.schema(
        [
            CROP_ID,
            VIDEO_ID,
            UNIT_ID,
            _column(
                "region",
                pa.string(),
                "embedded part of the crop: whole, head, upper, lower or feet",
                nullable=False,
            ),
            _column("embedding", pa.list_(pa.float16(), dim), "image feature, L2-normalised", nullable=False),
        ]
    )


COLOUR = pa.struct(
    [
        pa.field("region", pa.string()),
        pa.field("name", pa.string()),
        pa.field("share", pa.float32()),
        pa.field("margin", pa.float32()),
    ]
)

EVIDENCE = pa.schema(
    [
        CROP_ID,
        VIDEO_ID,
        UNIT_ID,
        _column(
            "colours",
            pa.list_(COLOUR),
            "garment colour by region: name, share of pixels, and margin to the next colour",
        ),
        _column("objects", pa.list_(OBJECT), "as in crops"),
    ]
)

CAPTION = pa.struct(
    [
        pa.field("text", pa.string()),
        pa.field("template", pa.string()),
        pa.field("style", pa.string()),
    ]
)

ATTRIBUTE = pa.struct(
    [
        pa.field("attribute", pa.string()),
        pa.field("region", pa.string()),
        pa.field("phrase", pa.string()),
        pa.field("value", pa.string()),
        pa.field("probability", pa.float32()),
        pa.field("margin", pa.float32()),
        pa.field("used", pa.bool_()),
        pa.field("source", pa.string()),
        pa.field("clip_value", pa.string()),
        pa.field("evidence", pa.string()),
        pa.field("agrees", pa.bool_()),
    ]
)

CAPTIONS = pa.schema(
    [
        CROP_ID,
        VIDEO_ID,
        UNIT_ID,
        _column(
            "seed", pa.int64(), "seed of the recipe; together with crop_id it determines every choice", nullable=False
        ),
        _column("captions", pa.list_(CAPTION), "the sentences, each with its template and style"),
        _column(
            "attributes",
            pa.list_(ATTRIBUTE),
            "values read, with region, probability, margin to the runner-up, whether captions state them, source, and "
            "the evidence beside CLIP",
        ),
    ]
)

MANIFEST = pa.schema(
    [
        CROP_ID,
        VIDEO_ID,
        UNIT_ID,
        *_FRAME,
        *_BOX,
        _column("width", pa.int32(), "width of the crop, pixels", nullable=False),
        _column("height", pa.int32(), "height of the crop, pixels", nullable=False),
        _column("sharpness", pa.float32(), "as in crops"),
        _column("track_id", pa.string(), "tracklet of the crop, as in tracks; null when it has none"),
        _column(
            "split",
            pa.string(),
            "train, val or test; all crops of a video (in a one-video corpus, of a stretch of time) are in one split",
            nullable=False,
        ),
        _column("captions", pa.list_(pa.string()), "the sentences", nullable=False),
        _column("attributes", pa.list_(ATTRIBUTE), "as in captions"),
        _column("source_url", pa.string(), "URL of the video's page"),
        _column("license", pa.string(), "licence stated by the site"),
        _column("query", pa.string(), "search query that found the video"),
        _column("detect_fingerprint", pa.string(), "configuration that cut the crop"),
        _column("caption_fingerprint", pa.string(), "configuration that wrote the captions"),
        _column(
            "crops_path", pa.string(), "file of crops that has the JPEG, as in the ledger; null where jpeg is here"
        ),
        _column("jpeg", pa.binary(), "the crop, JPEG-encoded; null where crops_path names its file"),
    ]
)

METRICS = pa.schema(
    [
        UNIT_ID,
        _column("step", pa.int64(), "optimiser steps so far", nullable=False),
        _column("epoch", pa.float64(), "passes over the training split so far", nullable=False),
        _column("phase", pa.string(), "train, or the name of the evaluated split", nullable=False),
        _column("name", pa.string(), "metric: loss, contrastive, mlm, learning_rate, r1, r5, r10, map", nullable=False),
        _column("value", pa.float64(), "value of the metric", nullable=False),
    ]
)

LEDGER = pa.schema(
    [
        _key("stage", "stage of the pipeline"),
        _column("scope", pa.string(), "embedding model or caption variant; empty elsewhere", nullable=False),
        UNIT_ID,
        _column(
            "fingerprint", pa.string(), "digest of the stage's configuration, weights and code version", nullable=False
        ),
        _column("inputs", pa.string(), "digest of the unit's inputs", nullable=False),
        _column("status", pa.string(), "ok, empty, failed, quarantined or retired", nullable=False),
        _column("attempts", pa.int32(), "attempts under this fingerprint", nullable=False),
        _column("error_type", pa.string(), "class of the error; null when ok"),
        _column("error_message", pa.string(), "error message"),
        _column("outputs", pa.list_(pa.string()), "files written, relative to the corpus", nullable=False),
        _column("rows_out", pa.int64(), "rows written to all tables", nullable=False),
        _column("frames", pa.int64(), "frames decoded; null in stages that decode none"),
        _column("crops", pa.int64(), "crops cut; null in stages that cut none"),
        _column("seconds", pa.float64(), "work time, summed over the operators", nullable=False),
        _column("node", pa.string(), "host that finished the unit"),
        _column("run_id", pa.string(), "run that finished the unit", nullable=False),
        _column("finished_at", TIMESTAMP, "when it was committed, by the driver's clock", nullable=False),
    ]
)

LAYOUT = pa.schema(
    [
        _column("path", pa.string(), "pack: the file that a task wrote, as the ledger names it", nullable=False),
        _column("file", pa.string(), "file that holds its rows now", nullable=False),
        _column("first_row", pa.int64(), "first of its rows in that file", nullable=False),
        _column("num_rows", pa.int64(), "number of its rows there", nullable=False),
        _column("placed_at", TIMESTAMP, "when it was moved there", nullable=False),
    ]
)
