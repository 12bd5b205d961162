"""Operations that outlast a request."""
