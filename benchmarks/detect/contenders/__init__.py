"""One module per way to turn videos into crops of persons; each runs in its own process.

Usage of each: ``python -m benchmarks.detect.contenders.NAME JOB``, where JOB is the JSON of a
``benchmarks.detect.measure.Task``. The last line printed is JSON: frames processed and crops written.
"""
