package dataset

import (
	"path/filepath"
	"strings"
)

// Statements returns the SQL by which DuckDB reads a dataset, for a person who runs it.
func Statements(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return strings.ReplaceAll(duckDB, "DIR", strings.ReplaceAll(abs, "'", "''")), nil
}

// duckDB reads the manifest once, so that all views show the same moment until it is read again. read_parquet takes a variable
// that is a list of names, and not an expression of one.
const duckDB = `-- What is in the dataset, as the manifest says at this moment. Run it again to see what came since.
SET VARIABLE legato_files = (
  SELECT files FROM read_json('DIR/manifest.json', maximum_object_size = 1073741824,
    columns = {files: 'STRUCT(path VARCHAR, kind VARCHAR)[]'}));
SET VARIABLE legato_leg_files = (
  SELECT list_transform(list_filter(getvariable('legato_files'), lambda f: f.kind = 'leg'), lambda f: 'DIR/' || f.path));
SET VARIABLE legato_session_files = (
  SELECT list_transform(list_filter(getvariable('legato_files'), lambda f: f.kind = 'session'), lambda f: 'DIR/' || f.path));

-- Every revision of each leg and session is a row.
CREATE OR REPLACE VIEW leg_revisions AS SELECT * FROM read_parquet(getvariable('legato_leg_files'),
  union_by_name = true, hive_partitioning = true, hive_types_autocast = false);
CREATE OR REPLACE VIEW session_revisions AS SELECT * FROM read_parquet(getvariable('legato_session_files'),
  union_by_name = true, hive_partitioning = true, hive_types_autocast = false);

-- The newest revision of each.
CREATE OR REPLACE VIEW legs AS SELECT * FROM leg_revisions
  QUALIFY row_number() OVER (PARTITION BY call_leg_id ORDER BY revision DESC) = 1;
CREATE OR REPLACE VIEW sessions AS SELECT * FROM session_revisions
  QUALIFY row_number() OVER (PARTITION BY call_session_id ORDER BY revision DESC) = 1;
`
