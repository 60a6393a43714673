-- Views over a corpus. Each reads source.<name>, which lists its Parquet files and has the schema of schemas/tables.py,
-- and shows the rows that the ledger vouches for (source.live) and no others. A column that a query does not name is
-- never read, so the jpeg columns cost nothing until they are selected.

CREATE VIEW ledger AS FROM source.ledger;
COMMENT ON VIEW ledger IS 'the row that counts for every unit of work';

CREATE VIEW ledger_history AS FROM source.ledger_history;
COMMENT ON VIEW ledger_history IS 'every row that the ledger ever took, superseded ones too';

CREATE VIEW live AS FROM source.live;
COMMENT ON VIEW live IS 'which rows count: those of unit_id in file, and no others';
COMMENT ON COLUMN live.path IS 'file that the unit wrote, below the corpus';
COMMENT ON COLUMN live.file IS 'the same file as DuckDB opens it';

CREATE VIEW listings AS SELECT * EXCLUDE (file) FROM source.listings SEMI JOIN source.live USING (unit_id, file);
COMMENT ON VIEW listings IS 'one row per video that a search, a playlist or an id list gave';

CREATE VIEW videos AS SELECT * EXCLUDE (file) FROM source.videos SEMI JOIN source.live USING (unit_id, file);
COMMENT ON VIEW videos IS 'one row per video that was downloaded';

CREATE VIEW detections AS SELECT * EXCLUDE (file) FROM source.detections SEMI JOIN source.live USING (unit_id, file);
COMMENT ON VIEW detections IS 'one row per person found in a sampled frame, dropped ones with their reasons';

CREATE VIEW crops AS SELECT * EXCLUDE (file) FROM source.crops SEMI JOIN source.live USING (unit_id, file);
COMMENT ON VIEW crops IS 'one row per detection that was kept, with its JPEG';

CREATE VIEW embeddings AS SELECT * EXCLUDE (file) FROM source.embeddings SEMI JOIN source.live USING (unit_id, file);
COMMENT ON VIEW embeddings IS 'one row per model, crop and region';
COMMENT ON COLUMN embeddings.model IS 'embedding model';

CREATE VIEW captions AS
SELECT
    crop_id, video_id, unit_id, variant, seed, n,
    captions[n + 1].text AS text, captions[n + 1].template AS template, captions[n + 1].style AS style
FROM (
    SELECT *, unnest(range(len(captions))) AS n
    FROM source.captions SEMI JOIN source.live USING (unit_id, file)
);
COMMENT ON VIEW captions IS 'one row per variant, crop and sentence';
COMMENT ON COLUMN captions.variant IS 'caption variant';
COMMENT ON COLUMN captions.n IS 'rank of the sentence among those of its crop, from 0';
COMMENT ON COLUMN captions.text IS 'the sentence';
COMMENT ON COLUMN captions.template IS 'template that it was made from';
COMMENT ON COLUMN captions.style IS 'style of the template';

CREATE VIEW attributes AS
SELECT crop_id, video_id, unit_id, variant, unnest(attributes, max_depth := 2)
FROM source.captions SEMI JOIN source.live USING (unit_id, file);
COMMENT ON VIEW attributes IS 'one row per variant, crop and attribute: what was read, and how surely';
COMMENT ON COLUMN attributes.variant IS 'caption variant';
COMMENT ON COLUMN attributes.attribute IS 'attribute that was asked for';
COMMENT ON COLUMN attributes.region IS 'part of the crop that it was read from';
COMMENT ON COLUMN attributes.phrase IS 'phrase that fitted best';
COMMENT ON COLUMN attributes.value IS 'value that the phrase stands for';
COMMENT ON COLUMN attributes.probability IS 'softmax probability of the phrase';
COMMENT ON COLUMN attributes.margin IS 'probability less that of the runner-up';
COMMENT ON COLUMN attributes.used IS 'whether the captions tell it';

CREATE VIEW manifest AS SELECT * EXCLUDE (file) FROM source.manifest SEMI JOIN source.live USING (unit_id, file);
COMMENT ON VIEW manifest IS 'one row per variant and published crop: bytes, captions, split, provenance';
COMMENT ON COLUMN manifest.variant IS 'caption variant';

CREATE VIEW metrics AS SELECT * EXCLUDE (file) FROM source.metrics SEMI JOIN source.live USING (unit_id, file);
COMMENT ON VIEW metrics IS 'one row per metric that pre-training reported';
COMMENT ON COLUMN metrics.variant IS 'caption variant that was trained on';

CREATE MACRO caption_of(id) AS TABLE
    SELECT variant, n, text, template, style FROM captions WHERE crop_id = id ORDER BY variant, n;
COMMENT ON MACRO TABLE caption_of IS 'the sentences of one crop, in every variant';

CREATE MACRO caption_diversity(of_variant) AS TABLE
    WITH said AS (
        SELECT text, regexp_extract_all(lower(text), '[a-z0-9][a-z0-9''-]*') AS words
        FROM captions AS c WHERE c.variant = of_variant
    ),
    -- One row per word and per pair of neighbours with its count. Entropy is in bits.
    singles AS (SELECT gram, count(*) AS n FROM (SELECT unnest(words) AS gram FROM said) GROUP BY gram),
    pairs AS (
        SELECT gram, count(*) AS n
        FROM (SELECT unnest(list_zip(words[:-2], words[2:])) AS gram FROM said)
        GROUP BY gram
    )
    SELECT
        (SELECT count(*) FROM said) AS captions,
        (SELECT count(DISTINCT text) FROM said) AS distinct_captions,
        (SELECT count(*) FROM singles) AS vocabulary,
        (SELECT round(avg(len(words)), 2) FROM said) AS mean_words,
        (SELECT count(*) / sum(n) FROM singles) AS distinct_1,
        (SELECT count(*) / sum(n) FROM pairs) AS distinct_2,
        (SELECT log2(sum(n)) - sum(n * log2(n)) / sum(n) FROM singles) AS entropy_1,
        (SELECT log2(sum(n)) - sum(n * log2(n)) / sum(n) FROM pairs) AS entropy_2;
COMMENT ON MACRO TABLE caption_diversity IS 'sentences, words, distinct-n and n-gram entropy of a variant''s captions';

CREATE MACRO attribute_counts(of_variant) AS TABLE
    SELECT
        a.attribute, a.value, count(*) AS crops, count(*) FILTER (a.used) AS told,
        round(avg(a.probability), 3) AS mean_probability, round(median(a.margin), 3) AS median_margin
    FROM attributes AS a
    WHERE a.variant = of_variant
    GROUP BY ALL
    ORDER BY a.attribute, crops DESC, a.value;
COMMENT ON MACRO TABLE attribute_counts IS 'how often each value was read, how often the captions tell it, and how surely it was read';

CREATE MACRO sample_crops(of_attribute, of_value, n) AS TABLE
    -- Chosen first, so that the pictures of the others are left where they are.
    WITH chosen AS (
        SELECT a.variant, a.crop_id, a.probability, a.margin
        FROM attributes AS a
        WHERE a.attribute = of_attribute AND a.value = of_value
        ORDER BY md5(a.crop_id), a.variant
        LIMIT n
    )
    SELECT chosen.*, c.video_id, c.pts_s, c.width, c.height, c.jpeg
    FROM chosen JOIN crops AS c USING (crop_id)
    ORDER BY md5(chosen.crop_id), chosen.variant;
COMMENT ON MACRO TABLE sample_crops IS 'crops that were read so, the same ones each time, with their pictures';

CREATE MACRO low_margin(of_variant, n) AS TABLE
    SELECT a.crop_id, a.attribute, a.region, a.value, a.probability, a.margin, a.used
    FROM attributes AS a
    WHERE a.variant = of_variant
    ORDER BY a.margin, a.crop_id, a.attribute
    LIMIT n;
COMMENT ON MACRO TABLE low_margin IS 'the readings that were hardest to tell from the runner-up';

CREATE MACRO compare_variants(one, other) AS TABLE
    SELECT
        a.attribute, count(*) AS crops, count(*) FILTER (a.value IS DISTINCT FROM b.value) AS differ,
        round(avg((a.value IS DISTINCT FROM b.value)::INT), 3) AS share
    FROM attributes AS a JOIN attributes AS b USING (crop_id, attribute)
    WHERE a.variant = one AND b.variant = other
    GROUP BY a.attribute
    ORDER BY differ DESC, a.attribute;
COMMENT ON MACRO TABLE compare_variants IS 'how many crops two variants read differently, attribute by attribute';

CREATE MACRO similar_crops(id, n) AS TABLE
    SELECT e.model, e.crop_id, e.video_id, round(list_cosine_similarity(e.embedding, q.embedding), 4) AS similarity
    FROM embeddings AS e JOIN embeddings AS q USING (model, region)
    WHERE q.crop_id = id AND q.region = 'whole' AND e.crop_id <> id
    ORDER BY similarity DESC, e.crop_id
    LIMIT n;
COMMENT ON MACRO TABLE similar_crops IS 'crops whose features are nearest to those of one crop, by cosine, in every model';

CREATE MACRO trace(id) AS TABLE
    SELECT
        c.crop_id, c.detection_id, c.video_id, v.source_url, v.license, v.query, c.frame_index, c.pts_s,
        c.x1, c.y1, c.x2, c.y2, c.confidence, c.sharpness,
        l.unit_id AS detect_unit, l.fingerprint AS detect_fingerprint, l.run_id AS detect_run
    FROM crops AS c
    LEFT JOIN videos AS v USING (video_id)
    LEFT JOIN ledger AS l ON l.stage = 'detect' AND l.unit_id = c.unit_id
    WHERE c.crop_id = id;
COMMENT ON MACRO TABLE trace IS 'where a crop comes from: its video, its place in it, and the configuration that cut it';
