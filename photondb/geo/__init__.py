"""Geometry on the earth: GeoJSON shapes, whether they meet, how far apart they are, and the cells they are indexed by.

Shapes lie on a sphere, where edges are great circles; distances are those on an ellipsoid.
"""
