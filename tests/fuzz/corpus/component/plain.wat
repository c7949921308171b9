(component
  (core module $m (func (export "run")))
  (core instance $i (instantiate $m))
  (func $run (canon lift (core func $i "run")))
  (instance $x (export "run" (func $run)))
  (export "a:b/c" (instance $x)) (export "run" (func $run)))
