-- Views over a corpus beyond those that follow from the declared tables. Each table source.<name> holds the rows that the
-- ledger vouches for, and a view <name> shows it; the latter is replaced here where users see other values. Pictures and
-- vectors are in the corpus's Parquet files: source.packs says in which, and the macros below read them.

CREATE VIEW ledger AS FROM source.ledger;
COMMENT ON VIEW ledger IS 'the current row of every unit of work';

CREATE VIEW ledger_history AS FROM source.ledger_history;
COMMENT ON VIEW ledger_history IS 'every row ever written to the ledger, superseded ones included';

CREATE VIEW live AS
SELECT scope, unit_id, fingerprint, path, coalesce(file, path) AS file
FROM (SELECT scope, unit_id, fingerprint, unnest(outputs) AS path FROM source.settled WHERE status IN ('ok', 'empty'))
    LEFT JOIN (SELECT path, file FROM source.packs) USING (path);
COMMENT ON VIEW live IS
    'rows that count: those of unit_id in path, and no others; of a unit whose last attempt failed, those of an earlier one';
COMMENT ON COLUMN live.path IS 'file that the unit wrote, relative to the corpus';
COMMENT ON COLUMN live.file IS 'file that holds its rows now, relative to the corpus: compaction merges files';

CREATE OR REPLACE VIEW duplicates AS
SELECT pair.* EXCLUDE (pack) REPLACE (coalesce(last.duplicate_of, pair.duplicate_of) AS duplicate_of)
FROM source.duplicates AS pair LEFT JOIN source.duplicates AS last ON last.crop_id = pair.duplicate_of;

CREATE VIEW runs AS FROM source.runs;
COMMENT ON VIEW runs IS 'one row per run whose captions count: its recipe, for json_extract';
COMMENT ON COLUMN runs.run_id IS 'id of the run, as in ledger';
COMMENT ON COLUMN runs.recipe IS 'the resolved recipe as JSON';

CREATE VIEW variants AS
WITH units AS (
    SELECT
        scope AS variant, string_agg(DISTINCT fingerprint, ', ' ORDER BY fingerprint) AS recipe_digest,
        count(*) FILTER (status NOT IN ('ok', 'empty')) AS failed_units,
        min(finished_at) AS created, max(finished_at) AS updated, arg_max(run_id, finished_at) AS run_id
    FROM ledger WHERE stage = 'caption' AND status <> 'retired'
    GROUP BY scope
), written AS (
    SELECT variant, count(*) FILTER (n = 0) AS crops, count(*) AS captions
    FROM source.captions
    GROUP BY variant
), read_from AS ( -- a unit of caption is named after the file of embeddings that it reads
    SELECT c.scope AS variant, string_agg(DISTINCT e.scope, ', ' ORDER BY e.scope) AS model
    FROM source.settled AS c JOIN source.packs AS e
        ON split_part(c.unit_id, '/', -1) = replace(split_part(e.path, '/', -1), '.parquet', '')
    WHERE c.stage = 'caption' AND c.status IN ('ok', 'empty') AND e.table_name = 'embeddings'
    GROUP BY c.scope
), published AS (
    SELECT scope AS variant, rows_out AS published_crops, finished_at AS published
    FROM source.settled WHERE stage = 'publish' AND status = 'ok'
), trained AS (
    SELECT scope AS variant, count(*) AS checkpoints
    FROM source.settled WHERE stage = 'pretrain' AND status = 'ok' GROUP BY scope
)
SELECT
    variant, coalesce(captions, 0) AS captions, coalesce(crops, 0) AS crops, recipe_digest, model,
    json_extract_string(recipe, '$.caption.bank') AS bank, json_extract_string(recipe, '$.caption.grammar') AS grammar,
    created, updated, published, published_crops, published < updated AS outdated,
    coalesce(checkpoints, 0) AS checkpoints, failed_units, run_id
FROM units
    LEFT JOIN written USING (variant)
    LEFT JOIN read_from USING (variant)
    LEFT JOIN published USING (variant)
    LEFT JOIN trained USING (variant)
    LEFT JOIN runs USING (run_id)
ORDER BY variant;
COMMENT ON VIEW variants IS 'one row per caption variant: contents, recipe, manifest and trainings';
COMMENT ON COLUMN variants.variant IS 'caption variant';
COMMENT ON COLUMN variants.captions IS 'sentences written';
COMMENT ON COLUMN variants.crops IS 'crops captioned';
COMMENT ON COLUMN variants.recipe_digest IS 'fingerprint of the caption stage; several while units of an older recipe remain';
COMMENT ON COLUMN variants.model IS 'model of the embeddings that attributes were read from';
COMMENT ON COLUMN variants.bank IS 'phrase bank named in the recipe; null if the run recorded no recipe';
COMMENT ON COLUMN variants.grammar IS 'grammar named in the recipe';
COMMENT ON COLUMN variants.created IS 'when its oldest current unit was written';
COMMENT ON COLUMN variants.updated IS 'when its newest current unit was written';
COMMENT ON COLUMN variants.published IS 'when its manifest was written; null before it is published';
COMMENT ON COLUMN variants.published_crops IS 'rows of the manifest';
COMMENT ON COLUMN variants.outdated IS 'whether captions are newer than the manifest';
COMMENT ON COLUMN variants.checkpoints IS 'current trainings on the manifest';
COMMENT ON COLUMN variants.failed_units IS 'units that are failed or quarantined';
COMMENT ON COLUMN variants.run_id IS 'run that wrote the newest unit';

CREATE MACRO caption_of(id) AS TABLE
    SELECT variant, n, text, template, style FROM captions WHERE crop_id = id ORDER BY variant, n;
COMMENT ON MACRO TABLE caption_of IS 'sentences of one crop, in every variant';

CREATE MACRO caption_diversity(of_variant) AS TABLE
    WITH sentences AS (
        SELECT text, regexp_extract_all(lower(text), '[a-z0-9][a-z0-9''-]*') AS words
        FROM captions AS c WHERE c.variant = of_variant
    ),
    -- One row per word and per pair of neighbours with its count. Entropy is in bits.
    singles AS (SELECT gram, count(*) AS n FROM (SELECT unnest(words) AS gram FROM sentences) GROUP BY gram),
    pairs AS (
        SELECT gram, count(*) AS n
        FROM (SELECT unnest(list_zip(words[:-2], words[2:])) AS gram FROM sentences)
        GROUP BY gram
    )
    SELECT
        (SELECT count(*) FROM sentences) AS captions,
        (SELECT count(DISTINCT text) FROM sentences) AS distinct_captions,
        (SELECT count(*) FROM singles) AS vocabulary,
        (SELECT round(avg(len(words)), 2) FROM sentences) AS mean_words,
        (SELECT count(*) / sum(n) FROM singles) AS distinct_1,
        (SELECT count(*) / sum(n) FROM pairs) AS distinct_2,
        (SELECT log2(sum(n)) - sum(n * log2(n)) / sum(n) FROM singles) AS entropy_1,
        (SELECT log2(sum(n)) - sum(n * log2(n)) / sum(n) FROM pairs) AS entropy_2;
COMMENT ON MACRO TABLE caption_diversity IS 'sentences, words, distinct-n and n-gram entropy of a variant''s captions';

CREATE MACRO attribute_counts(of_variant) AS TABLE
    SELECT
        a.attribute, a.value, count(*) AS crops, count(*) FILTER (a.used) AS stated,
        round(avg(a.probability), 3) AS mean_probability, round(median(a.margin), 3) AS median_margin
    FROM attributes AS a
    WHERE a.variant = of_variant
    GROUP BY ALL
    ORDER BY a.attribute, crops DESC, a.value;
COMMENT ON MACRO TABLE attribute_counts IS 'how often each value was read and stated in captions, with mean probability and median margin';

CREATE MACRO sample_crops(of_attribute, of_value, n) AS TABLE
    -- Chosen first, so that no other JPEG is read.
    WITH chosen AS MATERIALIZED (
        SELECT a.variant, a.crop_id, a.probability, a.margin
        FROM attributes AS a
        WHERE a.attribute = of_attribute AND a.value = of_value
        ORDER BY md5(a.crop_id), a.variant
        LIMIT n
    )
    SELECT chosen.*, c.video_id, c.pts_s, c.width, c.height, p.jpeg
    FROM chosen JOIN crops AS c USING (crop_id)
        JOIN jpegs_of((SELECT list(DISTINCT crop_id) FROM chosen)) AS p USING (crop_id)
    ORDER BY md5(chosen.crop_id), chosen.variant;
COMMENT ON MACRO TABLE sample_crops IS 'a fixed sample of crops that were read as having a value, with their JPEGs';

CREATE MACRO low_margin(of_variant, n) AS TABLE
    SELECT a.crop_id, a.attribute, a.region, a.value, a.probability, a.margin, a.used
    FROM attributes AS a
    WHERE a.variant = of_variant
    ORDER BY a.margin, a.crop_id, a.attribute
    LIMIT n;
COMMENT ON MACRO TABLE low_margin IS 'readings with the smallest margins';

CREATE MACRO evidence_agreement(of_variant) AS TABLE
    SELECT
        a.attribute, count(*) AS crops, count(a.agrees) AS with_evidence, count(*) FILTER (a.agrees) AS agree,
        round(avg(a.agrees::INT), 3) AS share, count(*) FILTER (a.source IN ('pixels', 'detector')) AS taken_from_evidence
    FROM attributes AS a
    WHERE a.variant = of_variant
    GROUP BY a.attribute
    HAVING with_evidence > 0
    ORDER BY share, a.attribute;
COMMENT ON MACRO TABLE evidence_agreement IS 'how often CLIP and the evidence of pixels or detector agree, by attribute';

CREATE MACRO compare_variants(one, other) AS TABLE
    SELECT
        a.attribute, count(*) AS crops, count(*) FILTER (a.value IS DISTINCT FROM b.value) AS differ,
        round(avg((a.value IS DISTINCT FROM b.value)::INT), 3) AS share
    FROM attributes AS a JOIN attributes AS b USING (crop_id, attribute)
    WHERE a.variant = one AND b.variant = other
    GROUP BY a.attribute
    ORDER BY differ DESC, a.attribute;
COMMENT ON MACRO TABLE compare_variants IS 'how many crops two variants read differently, by attribute';

CREATE MACRO variant_words(of_variant) AS TABLE
    SELECT word, sum(times)::BIGINT AS times
    FROM (
        SELECT unnest(regexp_extract_all(lower(text), '[a-z]+(?:[-''][a-z]+)*')) AS word, times
        FROM (SELECT text, count(*) AS times FROM captions WHERE variant = of_variant GROUP BY text)
    )
    GROUP BY word
    ORDER BY times DESC, word;
COMMENT ON MACRO TABLE variant_words IS 'vocabulary of a variant: lower-case words with their number of occurrences';

CREATE MACRO variant_diff(one, other) AS TABLE
    WITH crop_captions AS (
        SELECT variant, crop_id, list(text ORDER BY text) AS texts
        FROM captions WHERE variant IN (one, other) GROUP BY variant, crop_id
    ), sentences AS (
        SELECT variant, text, count(*) AS times, len(regexp_extract_all(text, '\S+')) AS words
        FROM captions WHERE variant IN (one, other) GROUP BY variant, text
    ), pairs AS (
        SELECT count(*) AS common, count(*) FILTER (a.texts <> b.texts) AS changed
        FROM crop_captions AS a JOIN crop_captions AS b USING (crop_id)
        WHERE a.variant = one AND b.variant = other
    ), counts AS (
        SELECT variant, count(*) AS crops, sum(len(texts))::BIGINT AS captions FROM crop_captions GROUP BY variant
    ), readings AS (
        SELECT variant, count(*) FILTER (used) AS stated FROM attributes WHERE variant IN (one, other) GROUP BY variant
    ), lengths AS (
        SELECT
            variant, count(*) AS distinct_captions, sum(words * times) / sum(times) AS words_per_caption,
            min(words) AS fewest_words, max(words) AS most_words
        FROM sentences GROUP BY variant
    ), vocabularies AS (
        SELECT one AS variant, count(*) AS vocabulary FROM variant_words(one)
        UNION SELECT other, count(*) FROM variant_words(other)
    )
    SELECT
        variant, crops, crops - common AS crops_only_here, changed AS crops_changed, captions, distinct_captions,
        vocabulary, round(words_per_caption, 2) AS words_per_caption, fewest_words, most_words,
        round(stated / crops, 2) AS stated_per_crop
    FROM counts JOIN lengths USING (variant) JOIN vocabularies USING (variant) LEFT JOIN readings USING (variant)
        CROSS JOIN pairs
    ORDER BY variant = other, variant;
COMMENT ON MACRO TABLE variant_diff IS 'two variants side by side: differing crops, diversity, length, stated attributes';

CREATE MACRO variant_confusion(one, other) AS TABLE
    WITH stated AS (
        SELECT crop_id, variant, attribute, CASE WHEN used THEN value ELSE 'not stated' END AS value
        FROM attributes WHERE variant IN (one, other)
    )
    SELECT
        attribute, coalesce(a.value, 'not asked') AS before, coalesce(b.value, 'not asked') AS after,
        count(*) AS crops
    FROM (SELECT * EXCLUDE (variant) FROM stated WHERE variant = one) AS a
        FULL JOIN (SELECT * EXCLUDE (variant) FROM stated WHERE variant = other) AS b USING (crop_id, attribute)
    WHERE crop_id IN (SELECT crop_id FROM source.captions WHERE variant = one)
        AND crop_id IN (SELECT crop_id FROM source.captions WHERE variant = other)
    GROUP BY ALL
    ORDER BY attribute, crops DESC, before, after;
COMMENT ON MACRO TABLE variant_confusion IS 'number of crops by the values that two variants state about them, agreement included';

CREATE MACRO variant_moves(one, other) AS TABLE
    SELECT
        attribute, before, after, crops, round(crops / sum(crops) OVER (PARTITION BY attribute), 4) AS share
    FROM variant_confusion(one, other)
    QUALIFY before <> after
    ORDER BY attribute, crops DESC, before, after;
COMMENT ON MACRO TABLE variant_moves IS 'rows of variant_confusion that differ, with their share of the crops';

CREATE MACRO similar_crops(id, n) AS TABLE
    SELECT e.model, e.crop_id, e.video_id, round(list_cosine_similarity(e.embedding, q.embedding), 4) AS similarity
    FROM embedding_vectors() AS e JOIN embedding_of(id) AS q USING (model, region)
    WHERE q.region = 'whole' AND e.crop_id <> id
    ORDER BY similarity DESC, e.crop_id
    LIMIT n;
COMMENT ON MACRO TABLE similar_crops IS 'crops with the features nearest to those of one crop, by cosine, in every model';

CREATE MACRO trace(id) AS TABLE
    SELECT
        c.crop_id, c.detection_id, c.video_id, v.source_url, v.license, v.query, c.frame_index, c.pts_s,
        c.x1, c.y1, c.x2, c.y2, c.confidence, c.sharpness,
        l.unit_id AS detect_unit, l.fingerprint AS detect_fingerprint, l.run_id AS detect_run
    FROM crops AS c
    LEFT JOIN videos AS v USING (video_id)
    LEFT JOIN ledger AS l ON l.stage = 'detect' AND l.unit_id = c.unit_id
    WHERE c.crop_id = id;
COMMENT ON MACRO TABLE trace IS 'origin of a crop: video, frame, box, and the configuration that cut it';
