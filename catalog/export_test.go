package catalog

// SetKnownLevel makes a catalog that does not run yet behave as the code of an
// older version, which knows the feature levels up to level.
func (c *Catalog) SetKnownLevel(level uint32) {
	c.known = level
	c.cfg.FeatureLevel = min(c.cfg.FeatureLevel, level)
}
