-- Lists come as JSON: several times faster to write than an array of the driver's.

-- find_rule: the keys of rules by name
SELECT name, key FROM rule_names WHERE name = ANY (ARRAY(SELECT jsonb_array_elements_text(:names::jsonb)))

-- add_rule: add rules; in one order, so that two scans never wait for each other
INSERT INTO rule_names (name) SELECT jsonb_array_elements_text(:names::jsonb) ORDER BY 1 ON CONFLICT DO NOTHING

-- find_variant: the keys of variants by name
SELECT name, key FROM variant_names WHERE name = ANY (ARRAY(SELECT jsonb_array_elements_text(:names::jsonb)))

-- add_variant: add variants
INSERT INTO variant_names (name) SELECT jsonb_array_elements_text(:names::jsonb) ORDER BY 1 ON CONFLICT DO NOTHING

-- find_reason: the keys of reason codes
SELECT name, key FROM reason_names WHERE name = ANY (ARRAY(SELECT jsonb_array_elements_text(:names::jsonb)))

-- add_reason: add reason codes
INSERT INTO reason_names (name) SELECT jsonb_array_elements_text(:names::jsonb) ORDER BY 1 ON CONFLICT DO NOTHING

-- find_lens: the keys of lenses by name
SELECT name, key FROM lens_names WHERE name = ANY (ARRAY(SELECT jsonb_array_elements_text(:names::jsonb)))

-- add_lens: add a lens
INSERT INTO lens_names (name, family) VALUES (:name::text, :family::text) ON CONFLICT DO NOTHING

-- find_version: the keys of lens versions by hash
SELECT encode(hash, 'hex') AS name, key FROM lens_versions WHERE hash = ANY (
    SELECT decode(h, 'hex') FROM jsonb_array_elements_text(:names::jsonb) AS h)

-- add_version: add a version of a lens; no row is returned where it was there
INSERT INTO lens_versions (lens, hash, title)
VALUES (:lens::integer, decode(:hash::text, 'hex'), :title::text)
ON CONFLICT DO NOTHING RETURNING key

-- add_members: the rules of a lens version, from [rule, variant, [control, ...]]
INSERT INTO lens_rules (version, rule, variant, controls)
SELECT :version::integer, (m -> 0)::integer, (m -> 1)::integer,
       ARRAY(SELECT jsonb_array_elements_text(m -> 2))
  FROM jsonb_array_elements(:members::jsonb) AS m

-- find_asked: the keys of sets of rules by hash
SELECT encode(hash, 'hex') AS name, key FROM asked_sets WHERE hash = ANY (
    SELECT decode(h, 'hex') FROM jsonb_array_elements_text(:names::jsonb) AS h)

-- add_asked: add a set of rules
INSERT INTO asked_sets (hash, rules) VALUES (decode(:hash::text, 'hex'), :rules::integer[])
ON CONFLICT DO NOTHING
