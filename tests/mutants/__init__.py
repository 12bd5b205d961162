"""Planted defects: does a test notice?"""
