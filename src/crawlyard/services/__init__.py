"""Operations of the yard, by noun."""
