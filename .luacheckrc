std = "luajit"
self = false -- a method that a class prescribes need not use it
max_line_length = 200
files["spec"] = {std = "+busted"}
files["spec/fixtures/*.lua"] = {max_line_length = false} -- generated
