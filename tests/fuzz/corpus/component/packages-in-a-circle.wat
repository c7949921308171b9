(component
  (import "a:x/one" (instance $one (export "r" (type (sub resource)))))
  (alias export $one "r" (type $r1))
  (import "b:y/two" (instance $two
    (alias outer 1 $r1 (type $b)) (export "r" (type $r (eq $b))) (export "s" (type (sub resource)))))
  (alias export $two "s" (type $s))
  (import "a:x/three" (instance
    (alias outer 1 $s (type $b)) (export "s" (type (eq $b))))))
