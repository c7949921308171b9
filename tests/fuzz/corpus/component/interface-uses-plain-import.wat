(component
  (import "qua" (instance $blobs (export "blob" (type (sub resource)))))
  (alias export $blobs "blob" (type $blob))
  
  
  (import "other:kind/others@1.2.3" (instance
    (alias outer 1 $blob (type $b)) (export "er" (type  (eq $b)))
    (export "other" (type $other (sub resource)))
    
    
    (export "[method]other.say" (func (param "self" (borrow $other)) (param "it" (list (option string))))))))
