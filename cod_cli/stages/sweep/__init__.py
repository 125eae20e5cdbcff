"""`cod sweep`: tasks × k × seeds × arms, one run folder each."""
