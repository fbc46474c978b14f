package expr

// Flip returns the comparison that says the same with its sides exchanged.
func (o Op) Flip() Op {
	switch o {
	case Less:
		return Greater
	case Greater:
		return Less
	case LessEqual:
		return GreaterEqual
	case GreaterEqual:
		return LessEqual
	}
	return o
}

// Holds reports whether a comparison holds for two values in this order, as cmp.Compare
// puts it.
func (o Op) Holds(order int) bool {
	switch o {
	case Equal:
		return order == 0
	case NotEqual:
		return order != 0
	case Less:
		return order < 0
	case LessEqual:
		return order <= 0
	case Greater:
		return order > 0
	case GreaterEqual:
		return order >= 0
	}
	return false
}
