"""The report: `page` turns run folders into one HTML page, `figures` says how its plots look."""
