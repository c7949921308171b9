(component
  (core module $m (memory 65536) (table 30000 funcref) (func (export "run")))
  (core instance (instantiate $m)))
