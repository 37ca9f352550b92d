-- What jobs may have left is found by their items: each change of a transfer writes one index less.
DROP INDEX IF EXISTS rs.transfers_unswept;
