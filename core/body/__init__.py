"""Bodies in the SMPL-X format: skeleton, model data, skinning, the free body and licensed files."""
