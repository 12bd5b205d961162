"""Operations that outlast a request: bulk actions and backfills."""
