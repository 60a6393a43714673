"""What people ask of a corpus: SQL, reports, status, variants, and garbage collection."""
