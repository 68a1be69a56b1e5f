package apidoc

import (
	"html"
	"html/template"
	"strings"
)

// prose makes HTML of a description. Of CommonMark it knows what descriptions
// use: paragraphs, lists of "- ", and `code`.
func prose(text string) template.HTML {
	var out strings.Builder
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if !strings.HasPrefix(block, "- ") {
			out.WriteString("<p>" + spans(block) + "</p>\n")
			continue
		}
		out.WriteString("<ul>\n")
		for _, item := range strings.Split(block[len("- "):], "\n- ") {
			out.WriteString("<li>" + spans(item) + "</li>\n")
		}
		out.WriteString("</ul>\n")
	}
	return template.HTML(out.String())
}

// phrase is prose within a line.
func phrase(text string) template.HTML {
	return template.HTML(spans(strings.TrimSpace(text)))
}

// spans escapes all of the text; what stands between backquotes is code.
func spans(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	parts := strings.Split(text, "`")
	var out strings.Builder
	for i, part := range parts {
		switch code := i%2 == 1; {
		case code && i < len(parts)-1:
			out.WriteString("<code>" + html.EscapeString(part) + "</code>")
		case code: // a backquote without another
			out.WriteString("`" + html.EscapeString(part))
		default:
			out.WriteString(html.EscapeString(part))
		}
	}
	return out.String()
}
