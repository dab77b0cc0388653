"""Where a sweep's results go: a recorder for each kind of group, its one writer."""
