package jsonrpc

import (
	"bytes"
	"encoding/json"
)

// ErrorResponse returns the answer that refuses req: one error object, or for a batch an
// array with one for each call that has an id. Where no id is known (a message that was
// not accepted, notifications) it is null, as JSON-RPC 2.0 section 5 has it. A
// notification is owed no answer; over HTTP there is one anyway, and it should say why.
//
// data, if any, becomes the error's data; what JSON cannot hold is left out whole.
func ErrorResponse(req Request, code int, message string, data map[string]any) []byte {
	problem := struct {
		Code    int            `json:"code"`
		Message string         `json:"message"`
		Data    map[string]any `json:"data,omitempty"`
	}{code, message, data}
	object, err := json.Marshal(problem)
	if err != nil {
		problem.Data = nil
		object, _ = json.Marshal(problem) // a number and a string always marshal
	}
	var out bytes.Buffer
	answers := 0
	if req.Batch {
		for _, c := range req.Calls {
			if c.ID == nil {
				continue
			}
			out.WriteByte("[,"[min(answers, 1)])
			answer(&out, c.ID, object)
			answers++
		}
	} else if len(req.Calls) == 1 && req.Calls[0].ID != nil {
		answer(&out, req.Calls[0].ID, object)
		return out.Bytes()
	}
	if answers == 0 {
		answer(&out, []byte("null"), object)
		return out.Bytes()
	}
	out.WriteByte(']')
	return out.Bytes()
}

func answer(out *bytes.Buffer, id, object []byte) {
	out.WriteString(`{"jsonrpc":"2.0","id":`)
	out.Write(id)
	out.WriteString(`,"error":`)
	out.Write(object)
	out.WriteByte('}')
}
